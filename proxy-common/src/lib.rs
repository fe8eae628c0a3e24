//! What the BPF programs and userspace share: wire types, names, and the redirection decision.
//!
//! The decision ([`egress()`], [`ingress()`]) is a pure function over plain values. The BPF programs call it with a
//! [`Table`] backed by maps, `explain` and the tests with one backed by collections.
//!
//! What the programs call is `inline(always)`, for the reason that the head of `proxy-ebpf` gives.
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_code)]

pub mod accel;
pub mod addr;
pub mod call;
pub mod counter;
pub mod dns;
pub mod egress;
pub mod flow;
pub mod guest;
pub mod ingress;
pub mod kernel;
mod named;
pub mod names;
pub mod places;
pub mod policy;
pub mod questions;
pub mod self_test;
pub mod tproxy;
pub mod verdict;
pub mod wire;
pub mod workload;

pub use addr::{Addr, Port};
pub use call::{Call, Refusal};
pub use egress::{Egress, egress};
pub use ingress::{Ingress, ingress};
pub use policy::{Policy, Table};
pub use verdict::{Rule, Target, Verdict};
