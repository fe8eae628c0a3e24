//! The programs and maps of one workload, from attach to detach. The kernel's pins are the only state.

mod accel_counters;
mod acceleration;
mod attach;
mod bpffs;
mod claim;
mod compile;
mod detach;
mod facts;
mod fill;
mod guests;
mod hooks;
mod job;
mod late_listeners;
mod log_ring;
mod meta;
mod node;
mod object;
mod observation;
mod passthrough6;
mod pins;
mod privileges;
mod readers;
mod runs;
mod self_test;
mod status;
mod tables;
mod which;
mod wire;

pub use accel_counters::Traffic;
pub use acceleration::{Accelerate, Acceleration, DEFAULT_LIMIT};
pub use attach::{Attached, Wish, attach};
pub use bpffs::root as pin_root;
pub use compile::{Compiled, compile};
pub use detach::{detach, detach_all};
pub use fill::Fill;
pub use hooks::{HOOKS, Hook, Target};
pub use log_ring::LogRing;
pub use meta::Meta;
pub use object::{OBJECT, program_stats};
pub use observation::Observe;
pub(crate) use observation::{
    OpenTotalsMap, journal_pins, list_pin, listed_pin, open_open_totals, open_totals,
};
pub use pins::WorkloadPins;
pub use privileges::{check as check_privileges, missing_capabilities, raise_memlock};
pub use readers::Hazardous;
pub use runs::{Programs, Run};
pub use status::{Counters, WorkloadStatus, status};
pub use tables::pinned_tables;
pub use which::Which;
pub(crate) use wire::decode;
