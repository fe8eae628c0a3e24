//! sidestep: Istio sidecar redirection with eBPF in place of iptables.
//!
//! [`config`] says what is captured, [`dataplane`] puts it into the kernel, where it lives in pins; everything else
//! reads those pins.
#![deny(unsafe_code)]

pub mod audit;
pub mod bench;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod flows;
pub mod kernel;
pub mod netns;
pub mod relay;
pub mod rules;
pub mod serve;
pub mod sys;
pub mod top;
pub mod verify;
