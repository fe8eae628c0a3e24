//! The programs and maps of one workload, from attach to detach. The kernel's pins are the only state.

mod acceleration;
mod attach;
mod bpffs;
mod claim;
mod compile;
mod detach;
mod facts;
mod guests;
mod hooks;
mod job;
mod late_listeners;
mod meta;
mod node;
mod object;
mod passthrough6;
mod pins;
mod privileges;
mod readers;
mod status;
mod tables;
mod which;
mod wire;

pub use acceleration::{Accelerate, Acceleration, DEFAULT_LIMIT};
pub use attach::{Attached, attach};
pub use bpffs::root as pin_root;
pub use compile::{Compiled, compile};
pub use detach::{detach, detach_all};
pub use hooks::{HOOKS, Hook, Target};
pub use meta::Meta;
pub use object::{OBJECT, program_stats};
pub use pins::WorkloadPins;
pub use status::{Counters, WorkloadStatus, status};
pub use tables::pinned_tables;
pub use which::Which;
