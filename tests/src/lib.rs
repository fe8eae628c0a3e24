//! The lab: pods made of processes in their own network namespace and cgroup, networks between them, sidecars,
//! servers and clients, and the two data planes (iptables, sidestep) to put underneath.
//!
//! A test builds a [`network::Network`], starts what it needs in it, and asserts. Everything is a guard: dropping
//! ends the processes, the cgroup and the namespace, last in first out, also when the test panics. Tests should
//! fail by panicking (`unwrap`, `assert!`): the guards then print how to enter the pod and what ran in it.
//!
//! Nothing here touches the machine's own network namespace; `SIDESTEP_LAB_KEEP=300` keeps a failed pod for 300 s.

pub mod accelerated;
pub mod agent;
pub mod alone;
pub mod answerer;
pub mod any_reader;
#[cfg(feature = "plane")]
pub mod bare_pod;
pub mod cgroup;
pub mod client;
pub mod cluster;
pub mod content;
pub mod counters;
pub mod crowd;
pub mod data_plane;
pub mod dns;
pub mod earlier;
pub mod envoy;
pub mod envoy_config;
pub mod flows;
pub mod footprint;
pub mod guest;
pub mod helm;
pub mod interpreter;
pub mod iptables;
pub mod istio_iptables;
pub mod keeper;
pub mod kernel;
pub mod load;
pub mod network;
pub mod nobody;
pub mod node_agent;
pub mod oracle;
pub mod our_image;
pub mod pin_root;
pub mod plane;
pub mod pod;
pub mod process;
pub mod random;
pub mod readiness;
pub mod relay;
pub mod report;
pub mod requirement;
pub mod sample;
pub mod scale;
pub mod schema;
pub mod serve;
pub mod server;
pub mod settings;
pub mod shown;
pub mod sidecar;
pub mod sidestep;
pub mod tmux;
pub mod transcript;
pub mod turnarounds;
pub mod veth;
pub mod wait;
pub mod web_server;
