//! Flow records: each end of a TCP connection has one with its socket, from connect or accept on. Bytes over the
//! stack are read off the sequence numbers when somebody looks and when the socket goes, redirected ones are counted where
//! they are redirected. Only turnarounds take a look at each packet (`turn`).
//!
//! A connection is over when TCP has closed it *and* the application has let go of it: it may read on after the first,
//! and TCP works on after the second. The later of the two writes the record to the journal.

mod accepted;
mod closing;
mod free_list;
mod headers;
mod journal;
mod list;
mod live;
mod maps;
mod opening;
mod ops;
mod process;
mod questions;
mod socket;
mod sum;
mod turn;

pub(crate) use accepted::taken;
pub(crate) use live::{entry_of, mapped};
pub(crate) use opening::{opening, stays};
pub(crate) use turn::handed_over;
