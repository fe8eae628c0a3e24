//! sidestep without a kernel: what a workload's rules are, what they decide, and why.
//!
//! [`config`] reads settings, [`rules`] writes them as iptables rules, [`compile`] turns them into the tables of the
//! decision, and [`explain`] says what becomes of a connection. Nothing here touches BPF.
#![deny(unsafe_code)]

pub mod compile;
pub mod config;
pub mod exit;
pub mod explain;
pub mod harmless;
pub mod network;
pub mod rules;
