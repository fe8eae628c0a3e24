//! Why a connection goes where it goes: the verdict, the row of the decision table, the iptables rules the row stands
//! for, and the rows before it.
//!
//! The verdict is [`proxy_common`]'s, over the tables an attach would put into the kernel, or over those it did put
//! there. The inputs of an outgoing call are gathered by the function that gathers them for the programs
//! ([`proxy_common::call`]); what is written here finds words for the answer.

mod answer;
mod pod;
mod question;
mod text;
mod walk;

pub use answer::{Answer, Connection, IptablesRule, Outcome, explain, explain_unseen};
pub use pod::Pod;
pub use question::{Caller, Destination, Question};
pub use walk::Step;

#[cfg(test)]
mod tests;
