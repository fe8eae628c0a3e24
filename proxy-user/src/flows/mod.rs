//! Every TCP connection of the attached workloads, live and recent, with its decision and its bytes.
//!
//! The kernel holds the records: live ones with their sockets, closed ones in a ring. Nothing here needs a daemon, and
//! any number of readers may look at once.
//!
//! The readers, as they come: `live(&Filter) -> Result<Vec<Flow>>`, what is open now; `Journal::open()` with
//! `read(&mut self) -> Result<Batch { flows, lost }>`, what has closed since the last call and how many records were
//! overwritten unread; `totals() -> Result<Vec<(workload, Class, Totals)>>`, sums in the kernel, closed and live.

mod filter;
mod flow;

pub use filter::{Filter, Verdict, one_of};
pub use flow::{Flow, Named, Path, Process, SCHEMA, Side, Split, State, Stream, Times};
