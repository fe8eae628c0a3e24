//! sidestep: Istio sidecar redirection with eBPF in place of iptables.
//!
//! The map. Each line uses what is above it, and nothing below:
//!
//! | Where | What |
//! |---|---|
//! | [`proxy_common`] | wire types, names of programs and maps, and the decision, as the BPF programs and userspace share them |
//! | [`proxy_core::config`] | settings: [every name](proxy_core::config::setting), flags, variables and annotations to one validated [`Config`](proxy_core::config::Config) |
//! | [`proxy_core::rules`] | the iptables rules a configuration stands for |
//! | [`proxy_core::compile`] | the tables of the decision |
//! | [`proxy_core::explain`] | what becomes of a connection, and why |
//! | [`proxy_plane::sys`], [`kernel`](proxy_plane::kernel), [`netns`](proxy_plane::netns), [`cgroup`](proxy_plane::cgroup) | system calls, what this kernel can do, where a workload is |
//! | [`proxy_plane::dataplane`] | attach, detach, update: programs, maps, links and their pins |
//! | [`proxy_plane::flows`] | what became of connections |
//! | [`serve`], [`top`], [`audit`], [`doctor`], [`relay`], [`verify`], [`bench`](mod@bench) | what is built on it |
//! | [`nodes`] | what agents say of their nodes, here and through kubectl |
//! | [`cli`] | the command line: one verb a file |
//!
//! All state is in the kernel's pins: `attach` is a process that ends, and everything else reads what it left.
//! `docs/architecture.md` says how the data plane works.
#![deny(unsafe_code)]
// These panic when who reads has gone; `out` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
pub mod bench;
mod capture;
pub mod cli;
pub mod doctor;
mod ended;
pub mod nodes;
mod out;
pub mod relay;
pub mod serve;
mod sheet;
mod span;
pub mod top;
mod units;
pub mod verify;
mod whose;
mod why;
mod yaml;
