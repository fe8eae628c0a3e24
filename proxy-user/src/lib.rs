//! sidestep: Istio sidecar redirection with eBPF in place of iptables.
//!
//! `proxy_core` says what is captured, `proxy_plane` puts it into the kernel, where it lives in pins; everything here
//! reads those pins.
#![deny(unsafe_code)]

pub mod audit;
pub mod bench;
pub mod cli;
pub mod doctor;
pub mod relay;
pub mod serve;
pub mod top;
pub mod verify;
