//! What the CNI plugin and the agent say to each other. The plugin itself is the binary `sidestep-cni`: small, static,
//! started by the container runtime for every pod of a node, and gone again after milliseconds.
#![forbid(unsafe_code)]

pub mod wire;
