//! The pods of one setup in one mode, with everything running.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::tests::envoy_config::{Forward, Protocol, SidecarConfig};
use ::tests::network::Network;
use ::tests::pod::Pod;
use ::tests::process::Process;
use anyhow::{Context, Result};
use serde::Serialize;

use crate::background::Background;
use crate::case::{Case, Setup, Topology, Work};
use crate::evidence::Evidence;
use crate::mode::Mode;
use crate::options::Options;
use crate::plane::Plane;
use crate::sidecar::Envoy;
use crate::{cpu, nginx, wrk};

/// For whoever looks at programs that have started to have looked at these, twice.
const LOOKED_AT: Duration = Duration::from_secs(3);

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) requests: u64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU of client, sidecars and application together.
    pub(crate) cpu_us_per_request: f64,
    /// Of the time of one CPU, how much the pods had: under 1 on one CPU, something else ran there.
    pub(crate) cpu_share: f64,
    /// Through the sockmap.
    pub(crate) redirected_share: f64,
    pub(crate) evidence: Evidence,
}

/// Pods, application, sidecars, data plane; fields are dropped in this order.
#[derive(Debug)]
pub(crate) struct Stage {
    mode: Mode,
    plane: Plane,
    envoys: Vec<Envoy>,
    _app: Process,
    network: Network,
    setup: Setup,
}

impl Stage {
    pub(crate) fn build(setup: Setup, mode: Mode, options: &Options) -> Result<Self> {
        let network = Network::with_own_addresses(&format!("bench-{}", mode.name()))?;
        let server = if setup.topology == Topology::Outbound { &network.outside } else { &network.pod };
        let address = address_of(setup, &network);
        let bind = match setup.forward {
            // With the direct way measured too, the application listens where both find it.
            Forward::Localhost => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Forward::Passthrough => address.ip(),
        };
        let set_up = || Plane::set_up(mode, setup, &network, options);
        let plane = if mode.is_unknown() { Some(set_up()?) } else { None };
        let app =
            setup.app.start(server, bind, address).with_context(|| format!("start {}", setup.app.name()))?;
        let mut envoys = Vec::new();
        if mode != Mode::None {
            envoys.push(Envoy::start(&network.pod, &config(setup, &nginx::ports()))?);
            if setup.topology == Topology::TwoSidecars {
                envoys.push(Envoy::start(&network.outside, &config(setup, &[]))?);
            }
        }
        let plane = match plane {
            Some(plane) => plane,
            None => set_up()?,
        };
        if mode == Mode::SidestepInstalled {
            let client = if setup.topology == Topology::Outbound { &network.pod } else { &network.outside };
            setup.client.run(client, address, Work::Small(1), 1)?;
            std::thread::sleep(LOOKED_AT);
        }
        Ok(Self { mode, plane, envoys, _app: app, network, setup })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    fn pods(&self) -> [&Pod; 2] {
        [&self.network.pod, &self.network.outside]
    }

    /// One run of `case`, proven.
    pub(crate) fn run(&self, case: &Case, round: usize, seconds: u32) -> Result<Run> {
        let client =
            if self.setup.topology == Topology::Outbound { &self.network.pod } else { &self.network.outside };
        let mut at = address_of(self.setup, &self.network);
        let mut seconds = seconds;
        if matches!(case.work, Work::Churn(_)) {
            at.set_port(nginx::FIRST_PORT + u16::try_from(round)? % nginx::PORTS);
            seconds = 1;
        }
        let _follower = (self.mode == Mode::SidestepFollowed).then(Background::follows).transpose()?;
        let before = self.evidence()?;
        let (started, cpu_before) = (Instant::now(), cpu::used_us(&self.pods())?);
        let answered = self.setup.client.run(client, at, case.work, seconds)?;
        if self.mode != Mode::None {
            wrk::check_ports(case.work, &answered)?;
        }
        let cpu = cpu::used_us(&self.pods())? - cpu_before;
        let elapsed = started.elapsed();
        let evidence = self.evidence()?.since(before);
        evidence.check(self.mode, case, &answered)?;
        Ok(Run {
            round,
            requests: answered.requests,
            requests_per_second: answered.requests as f64 * 1e6 / answered.duration_us as f64,
            p50_us: answered.p50_us,
            p99_us: answered.p99_us,
            cpu_us_per_request: cpu as f64 / answered.requests as f64,
            cpu_share: cpu as f64 / elapsed.as_micros() as f64,
            redirected_share: evidence.redirected_share(case, &answered),
            evidence,
        })
    }

    fn evidence(&self) -> Result<Evidence> {
        let pods = self.pods();
        let attached = if self.setup.topology == Topology::Elsewhere { &pods[..1] } else { &pods[..] };
        Evidence::read(self.mode, attached, &self.envoys, &self.plane)
    }
}

fn address_of(setup: Setup, network: &Network) -> SocketAddr {
    match setup.topology {
        Topology::Outbound => network.outside4(nginx::FIRST_PORT),
        Topology::Inbound | Topology::Elsewhere | Topology::TwoSidecars => network.pod4(nginx::FIRST_PORT),
    }
}

fn config(setup: Setup, declared: &[u16]) -> SidecarConfig {
    let config = SidecarConfig::new(setup.forward, declared);
    if setup.protocol == Protocol::Http { config.http() } else { config }
}
