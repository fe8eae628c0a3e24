//! The acceleration: both ends of a connection that are on this node enter a SOCKHASH, and what one sends is handed to
//! the other without TCP/IP. Redirection never depends on it.

mod capture;
pub(crate) mod enroll;
pub(crate) mod maps;
mod memory;
mod peer;
mod reader;
pub(crate) mod record;
mod redirect;
mod self_test;
pub(crate) mod short;
mod splice_guard;
pub(crate) mod watch;
