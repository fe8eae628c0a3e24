//! `sidestep serve`: metrics, readiness and the node's page over HTTP. Figures are read from the pins when they are asked
//! for. What is kept meanwhile, the highest ones shown (`floors`), keeps counters from going back by a moment's difference;
//! nothing is lost with it, so that a server may come and go. What closes is followed besides (`closed`), for the flow log and
//! for what is counted of single connections.
//!
//! [`bind`] says what it bound, [`Server::run`] serves until it is told to stop: signals, standard output and the log's
//! form are the caller's.

mod app;
mod around;
mod closed;
mod connections;
mod floors;
mod flow_log;
mod hosts;
mod judging;
mod listen;
pub mod metrics;
mod node;
mod paths;
mod program_log;
mod questions;
mod routes;
pub mod snapshot;
mod stuck;

pub use app::{Options, Server, bind};
pub use flow_log::{FlowLog, Target};
pub use listen::Listen;

/// Where Istio, Kubernetes and the usual exporters listen to nothing; see docs/metrics.md.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:15095";
