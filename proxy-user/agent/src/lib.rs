//! The agent of a node: it finds the sidecar pods, enrols each before its first instruction, and keeps what is wanted and
//! what is in the kernel in step.
//!
//! [`pod`] is what sources tell: the CNI plugin and the container runtime, [`cri`]. [`cgroup_of`] finds a pod's cgroup.
#![forbid(unsafe_code)]

pub mod agent;
mod canonical_service;
pub mod cgroup_of;
mod cgroup_tree;
pub mod cri;
pub mod decide;
mod enrolled;
pub mod gate;
pub mod install;
mod network_watch;
mod place;
pub mod plan;
pub mod plugin;
pub mod pod;
pub mod private_socket;
pub mod report;
pub mod run;
pub mod select;
mod single;
pub mod sources;
mod static_file;
mod told;
pub mod uninstall;
pub mod values;
mod values_file;
