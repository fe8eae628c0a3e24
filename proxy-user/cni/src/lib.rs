//! The CNI plugin `sidestep-cni`, and what it and the agent say to each other. A container runtime starts the
//! plugin for every pod of a node; it is gone again after milliseconds.
//!
//! [`plugin`] is all of it without the process around it: [`call`] is what the runtime says in the
//! environment, [`network`] what it says on standard input with our [`entry`] of the list in it, [`sidecar`]
//! whether the pod needs the agent, [`agent`] asks it as [`wire`] says, and [`failure`] is what the runtime
//! hears when the pod must not start.
#![forbid(unsafe_code)]

pub mod agent;
pub mod call;
pub mod entry;
pub mod failure;
pub mod harmless;
pub mod network;
pub mod plugin;
pub mod sidecar;
pub mod wire;
