//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::mode::Mode;

/// sidestep against iptables and against no sidecar: real Envoy, nginx and wrk, in network namespaces of its own.
///
/// Everything runs on one CPU (the two-cpus cases: on two) and the modes take turns, so that what else happens on the
/// machine hits all of them. Each run proves that it went the way it says, or fails. Needs root.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
#[command(after_help = "Example: cargo xtask bench --quick --only small-32")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) what: Option<What>,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// What the agent of a node with 110 pods costs, how fast it has them, and how long its CNI plugin takes
    Agent(AgentOptions),
    /// What the decision costs a connect, from 1 to 10,000 exclude CIDRs
    Connect(ConnectOptions),
    /// How long it takes to enrol and to release a workload, with 0 to 500 there
    Enroll(EnrollOptions),
    /// What a request through a real Istio costs; `cargo xtask bench mesh` brings the cluster
    Mesh(MeshOptions),
    /// How near what is told of turnarounds is to Envoy's own durations, and to an application that waits
    Turnarounds(TurnaroundOptions),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// 3 rounds of 1 s in place of 5 rounds of 3 s
    #[arg(long)]
    pub(crate) quick: bool,
    /// How often each case is run in each mode
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Seconds of one run (runs of new connections: always 1)
    #[arg(long, value_name = "N")]
    seconds: Option<u32>,
    /// What a pod gets by itself: several applications, attached before they start, nobody vouched for
    #[arg(long)]
    pub(crate) apps: bool,
    /// Only cases whose name starts so; repeatable
    #[arg(long, value_name = "CASE")]
    pub(crate) only: Vec<String>,
    /// Only these modes, comma separated [default: all that compare ways of steering]
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    pub(crate) modes: Vec<Mode>,
    /// How sidestep accelerates
    #[arg(long, value_name = "MODE", default_value = "safe-readers")]
    pub(crate) accelerate: String,
    /// The CPU to pin to [default: the last one]
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Write bench.json, bench.md and bench.svg here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Fail when a figure is missed
    #[arg(long)]
    pub(crate) check: bool,
}

impl Options {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 }).max(1)
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectOptions {
    /// A tenth of the turns
    #[arg(long)]
    pub(crate) quick: bool,
    /// Turns of 100 connects per subject [default: 200]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// The CPU to pin to [default: the last one]
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Write connect.json, connect.md and connect.svg here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Fail when a figure is missed
    #[arg(long)]
    pub(crate) check: bool,
}

impl ConnectOptions {
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 20 } else { 200 }).max(1)
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TurnaroundOptions {
    /// Connections of 15 requests, of each way
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) connections: u32,
    /// Write turnarounds.json and turnarounds.md here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Fail when one is off by more than a tenth
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AgentOptions {
    /// How often the plugin is called for a pod with a sidecar, and as often for one without
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) turns: usize,
    /// How often the agent is started with nothing pinned, and as often with everything
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) starts: u32,
    /// How long it is idle
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u64).range(15..))]
    pub(crate) seconds: u64,
    /// Write agent.json and agent.md here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Fail when a figure is missed
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct EnrollOptions {
    /// How often a workload is enrolled and released at each level
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) turns: usize,
    /// Write enroll.json, enroll.md and enroll.svg here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
    /// Fail when a figure is missed
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example: cargo xtask bench mesh --turns 3")]
pub(crate) struct MeshOptions {
    /// cluster.json of a cluster of one node, with Istio
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: PathBuf,
    /// How often each load is run in each mode
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) turns: u32,
    /// Seconds of one load
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub(crate) seconds: f64,
    /// How many connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) connections: u32,
    /// The CPU to pin all pods to [default: the last one]
    #[arg(long)]
    pub(crate) cpu: Option<usize>,
    /// Write mesh.json, mesh.md and mesh.svg here
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    pub(crate) out: PathBuf,
}
