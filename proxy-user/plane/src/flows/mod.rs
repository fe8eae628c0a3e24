//! Every TCP connection of the attached workloads, live and recent, with its decision and its bytes.
//!
//! The kernel holds the records: live ones with their sockets, closed ones in a ring. Nothing here needs a daemon, and
//! any number of readers may look at once: [`live`] and [`recent`] at this moment, [`Journal`] at what closes,
//! [`totals`] at the sums.

mod callers;
mod culprits;
mod end;
mod filter;
mod flow;
mod follow;
mod join;
mod journal;
mod list;
mod names;
mod open;
mod questions;
mod share;
mod snapshot;
mod stuck;
mod totals;
mod walk;
mod way;

pub use callers::{By, Caller, CallerKey, callers};
pub use culprits::{Culprit, culprits};
pub use filter::{Filter, Verdict, one_of};
pub use flow::{Flow, Named, Path, Process, SCHEMA, Side, Split, State, Stream, Times, Waiting};
pub use follow::{Batch, Journal};
pub use journal::{Records, records};
pub use questions::{Names, Questions, questions};
pub use share::{Accounted, Share};
pub use snapshot::{Busiest, busiest, lasting, live, recent};
pub use stuck::{Reader, Stuck, Watch};
pub use totals::{ClassTotals, totals};
