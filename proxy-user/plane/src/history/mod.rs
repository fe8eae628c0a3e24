//! What was done to the workloads of this node, kept in a file: lines of JSON that outlive the workload, the agent and who
//! did it. Nothing depends on it.

mod entry;
mod file;

pub use entry::{Action, Actor, Entry, GivenUp, Predecessor, SCHEMA, acting_as};
pub use file::{Read, path, read};

pub(crate) use file::append;
