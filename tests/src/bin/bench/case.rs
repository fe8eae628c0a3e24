//! What is measured.

use ::tests::envoy_config::{Forward, Protocol};
use serde::Serialize;

use crate::app::App;
use crate::client::Client;

/// Who calls whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topology {
    /// A client on the node -> the pod's Envoy, 15006 -> the application.
    Inbound,
    /// The same with a client that is no workload of the node, as on another host.
    Elsewhere,
    /// The application -> its Envoy, 15001 -> a server outside.
    Outbound,
    /// A client -> its Envoy, 15001 -> the server's Envoy, 15006 -> the server; both pods on one node.
    TwoSidecars,
}

impl Topology {
    /// Connections a request passes through.
    pub(crate) fn hops(self) -> u64 {
        match self {
            Self::Inbound | Self::Elsewhere | Self::Outbound => 2,
            Self::TwoSidecars => 3,
        }
    }
}

/// CPUs everything is pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cpus {
    One,
    Two,
}

/// What pods are built for; cases with the same one share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) topology: Topology,
    pub(crate) forward: Forward,
    pub(crate) protocol: Protocol,
    pub(crate) cpus: Cpus,
    pub(crate) app: App,
    pub(crate) client: Client,
}

impl Setup {
    pub(crate) fn describe(self) -> String {
        let (app, client) = (self.app.name(), self.client.name());
        let topology = match self.topology {
            Topology::Inbound => format!("{client} -> Envoy -> {app}"),
            Topology::Elsewhere => format!("{client} elsewhere -> Envoy -> {app}"),
            Topology::Outbound => format!("{client} -> its Envoy -> outside {app}"),
            Topology::TwoSidecars => format!("{client} -> its Envoy -> Envoy -> {app}"),
        };
        let forward = match (self.topology, self.forward) {
            (Topology::Outbound, _) => "",
            (_, Forward::Localhost) => ", app on lo",
            (_, Forward::Passthrough) => ", app on eth0",
        };
        let protocol = if self.protocol == Protocol::Http { ", HTTP connection manager" } else { "" };
        let cpus = if self.cpus == Cpus::Two { ", two CPUs" } else { "" };
        format!("{topology}{forward}{protocol}{cpus}")
    }
}

/// The client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// 60 B bodies on connections kept alive.
    Small(u32),
    /// 1 MB bodies on connections kept alive.
    Bulk(u32),
    /// A new connection for each 60 B body.
    Churn(u32),
}

impl Work {
    pub(crate) fn connections(self) -> u32 {
        match self {
            Self::Small(count) | Self::Bulk(count) | Self::Churn(count) => count,
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small(_) | Self::Churn(_) => "/small",
            Self::Bulk(_) => "/big",
        }
    }

    /// Bytes of one body.
    pub(crate) fn body(self) -> u64 {
        match self {
            Self::Small(_) | Self::Churn(_) => 60,
            Self::Bulk(_) => 1_000_000,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    pub(crate) work: Work,
}

const ETH0: Setup = Setup {
    topology: Topology::Inbound,
    forward: Forward::Passthrough,
    protocol: Protocol::Tcp,
    cpus: Cpus::One,
    app: App::Nginx,
    client: Client::Wrk,
};
const LO: Setup = Setup { forward: Forward::Localhost, ..ETH0 };
const HTTP: Setup = Setup { protocol: Protocol::Http, ..ETH0 };
const OUTBOUND: Setup = Setup { topology: Topology::Outbound, ..ETH0 };
const TWO_SIDECARS: Setup = Setup { topology: Topology::TwoSidecars, ..ETH0 };
const TWO_CPUS: Setup = Setup { cpus: Cpus::Two, ..ETH0 };

const fn meshed(app: App) -> Setup {
    Setup { app, ..TWO_SIDECARS }
}

/// By a client whose own hop can take part.
const fn meshed_h2load(app: App) -> Setup {
    Setup { client: Client::H2load, ..meshed(app) }
}

const fn elsewhere(app: App) -> Setup {
    Setup { app, topology: Topology::Elsewhere, ..ETH0 }
}

/// How the cases of `--apps` begin: with what a pod gets by itself, for several applications.
pub(crate) const APPS: &str = "app-";

/// Every case, those of one setup in a row.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    Case { name: "small-1", setup: ETH0, work: Work::Small(1) },
    Case { name: "small-8", setup: ETH0, work: Work::Small(8) },
    Case { name: "small-32", setup: ETH0, work: Work::Small(32) },
    Case { name: "bulk-1", setup: ETH0, work: Work::Bulk(1) },
    Case { name: "bulk-8", setup: ETH0, work: Work::Bulk(8) },
    Case { name: "churn-8", setup: ETH0, work: Work::Churn(8) },
    Case { name: "lo-small-1", setup: LO, work: Work::Small(1) },
    Case { name: "lo-small-32", setup: LO, work: Work::Small(32) },
    Case { name: "lo-bulk-8", setup: LO, work: Work::Bulk(8) },
    Case { name: "http-small-1", setup: HTTP, work: Work::Small(1) },
    Case { name: "http-small-32", setup: HTTP, work: Work::Small(32) },
    Case { name: "outbound-small-1", setup: OUTBOUND, work: Work::Small(1) },
    Case { name: "outbound-small-32", setup: OUTBOUND, work: Work::Small(32) },
    Case { name: "outbound-churn-8", setup: OUTBOUND, work: Work::Churn(8) },
    Case { name: "two-envoys-small-1", setup: TWO_SIDECARS, work: Work::Small(1) },
    Case { name: "two-envoys-small-32", setup: TWO_SIDECARS, work: Work::Small(32) },
    Case { name: "app-nginx-meshed-small", setup: meshed(App::Nginx), work: Work::Small(16) },
    Case { name: "two-cpus-small-1", setup: TWO_CPUS, work: Work::Small(1) },
    Case { name: "two-cpus-small-32", setup: TWO_CPUS, work: Work::Small(32) },
    Case { name: "two-cpus-bulk-8", setup: TWO_CPUS, work: Work::Bulk(8) },
    Case { name: "app-node-meshed-small", setup: meshed(App::Node), work: Work::Small(16) },
    Case { name: "app-node-meshed-bulk", setup: meshed(App::Node), work: Work::Bulk(4) },
    Case { name: "app-go-meshed-small", setup: meshed(App::Go), work: Work::Small(16) },
    Case { name: "app-asyncio-meshed-small", setup: meshed(App::Asyncio), work: Work::Small(16) },
    Case { name: "app-node-meshed-h2load", setup: meshed_h2load(App::Node), work: Work::Small(16) },
    Case { name: "app-go-meshed-h2load", setup: meshed_h2load(App::Go), work: Work::Small(16) },
    Case { name: "app-nginx-meshed-h2load", setup: meshed_h2load(App::Nginx), work: Work::Small(16) },
    Case { name: "app-asyncio-meshed-h2load", setup: meshed_h2load(App::Asyncio), work: Work::Small(16) },
    Case { name: "app-node-elsewhere-small", setup: elsewhere(App::Node), work: Work::Small(16) },
    Case { name: "app-node-elsewhere-bulk", setup: elsewhere(App::Node), work: Work::Bulk(4) },
    Case { name: "app-go-elsewhere-small", setup: elsewhere(App::Go), work: Work::Small(16) },
    Case { name: "app-go-elsewhere-bulk", setup: elsewhere(App::Go), work: Work::Bulk(4) },
    Case { name: "app-nginx-elsewhere-small", setup: elsewhere(App::Nginx), work: Work::Small(16) },
    Case { name: "app-nginx-elsewhere-bulk", setup: elsewhere(App::Nginx), work: Work::Bulk(4) },
    Case { name: "app-nginx-elsewhere-churn", setup: elsewhere(App::Nginx), work: Work::Churn(8) },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_of_one_setup_stand_together() {
        let mut seen: Vec<Setup> = Vec::new();
        for case in CASES {
            if seen.last() != Some(&case.setup) {
                assert!(!seen.contains(&case.setup), "{} stands apart", case.name);
                seen.push(case.setup);
            }
        }
    }
}
