//! The agent of a node: it finds the sidecar pods, enrols each before its first instruction, and keeps what is wanted and
//! what is in the kernel in step.
//!
//! [`pod`] is what sources tell: the CNI plugin and the container runtime.
#![forbid(unsafe_code)]

pub mod install;
pub mod pod;
