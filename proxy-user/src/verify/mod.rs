//! Does capture work? What istio-validation checks, and for an attached workload also that its programs are where they
//! belong and that what leaves and what arrives reaches the sidecar's ports.
//!
//! Connections are made by child processes inside the workload's cgroup and network namespace ([`probe`]); nothing is
//! left behind.

mod attachment;
mod child;
mod inbound;
pub mod probe;
mod probe_cgroup;
mod report;
mod trial;
mod validation;
mod workload;

pub use report::{Report, Step, StepOutcome};
pub use validation::{Validation, validate};
pub use workload::{Sidecar, verify};
