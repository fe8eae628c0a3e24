//! The data plane: what is in the kernel for a workload, where it lives in pins, and what the kernel says of it.
//!
//! [`dataplane`] attaches and detaches, [`history`] keeps what it did, [`flows`] reads what became of connections. [`netns`] and [`cgroup`] are where a
//! workload is, [`kernel`] is what this machine can do, [`sys`] the system calls nobody else has.
#![deny(unsafe_code)]

pub mod cgroup;
mod clock;
pub mod dataplane;
mod flock;
pub mod flows;
pub mod history;
pub mod kernel;
pub mod netns;
pub mod sys;
