//! Who can reach what in a pod: every server against the capture rules and against both ways a sidecar forwards.
//!
//! The pod is described by its addresses, its rules and its sockets ([`AuditedPod`]); who gets a connection is worked out
//! as the kernel looks up a listener (`reach`); what is not as it should be becomes a [`Finding`]. Nothing is
//! changed and no connection is made.

mod audited_pod;
mod finding;
mod inspect;
mod node;
mod process;
mod reach;
mod report;
mod reserved;
mod server;
mod sidecar;
mod traffic;

pub use audited_pod::AuditedPod;
pub use finding::{Class, Finding, Kind};
pub use inspect::{Options, audit};
pub use node::{NodeReport, audit_all};
pub use process::Process;
pub use reach::{Forward, Reach};
pub use report::{Report, Row};
pub(crate) use reserved::is_of_sidecar;
pub use server::{Protocol, Server};

#[cfg(test)]
mod tests;
