//! The experiment under one data plane: two pods, one sidecar configured as each side of Istio 1.10, in each an
//! application on 127.0.0.1 and one on the pod's address.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use tests::client::Connect;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::iptables::{self, Backend};
use tests::network::Network;
use tests::server::{RunningServer, Server};
use tests::sidecar::{Logged, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

use crate::measured::{Bound, Cell, Istio, Measured, Outbound, SidecarSaw, Verdict};
use crate::ports::Ports;
use crate::progress::Progress;

/// Port of the application on 127.0.0.1.
const LO_PORT: u16 = 8080;
/// Port of the application on the pod's address.
const ETH0_PORT: u16 = 9090;
/// The service the pod calls.
pub(crate) const SERVICE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 96, 7, 7)), 80);

/// What redirects.
#[derive(Clone, Debug)]
pub(crate) enum DataPlane {
    Sidestep,
    Iptables { rules: String, backend: Backend },
}

impl DataPlane {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sidestep => "sidestep",
            Self::Iptables { .. } => "iptables",
        }
    }

    fn apply(&self, network: &Network) -> Result<Option<Sidestep>> {
        match self {
            Self::Sidestep => Sidestep::attach(&network.pod, &DEFAULT_FLAGS).map(Some),
            Self::Iptables { rules, backend } => {
                iptables::apply(&network.pod, rules, *backend).map(|()| None)
            }
        }
    }
}

/// A pod with everything running. Fields end in this order.
struct Stage {
    lo: RunningServer,
    eth0: RunningServer,
    sidecar: Sidecar,
    _redirection: Option<Sidestep>,
    network: Network,
}

/// Measures all four inbound cases and the outbound call.
pub(crate) fn measure(plane: &DataPlane, progress: &Progress) -> Result<Measured> {
    let run = |istio| {
        let stage = set_up(plane, istio, progress)?;
        let cells = [(Bound::Lo, &stage.lo), (Bound::Eth0, &stage.eth0)]
            .map(|(bound, app)| inbound(&stage, istio, bound, app));
        let cells = cells.into_iter().collect::<Result<Vec<Cell>>>()?;
        let outbound = outbound(&stage)?;
        progress.note(&format!("{}: {} measured", plane.name(), istio.label().trim_end()));
        anyhow::Ok((cells, outbound))
    };
    // The two pods share nothing, so they are measured at the same time.
    let (old, new) = std::thread::scope(|scope| {
        let old = scope.spawn(|| run(Istio::UpTo1_9));
        let new = run(Istio::From1_10);
        (old.join(), new)
    });
    let (mut inbound, _) = old.map_err(|_| anyhow::anyhow!("a measuring thread panicked"))??;
    let (cells, outbound) = new?;
    inbound.extend(cells);
    Ok(Measured { data_plane: plane.name().to_owned(), inbound, outbound })
}

fn set_up(plane: &DataPlane, istio: Istio, progress: &Progress) -> Result<Stage> {
    let step = |text: &str| progress.note(&format!("{}: {}: {text}", plane.name(), istio.label().trim_end()));
    let (short, forward) = match istio {
        Istio::UpTo1_9 => ("lo", Forward::Localhost),
        Istio::From1_10 => ("eth0", Forward::Passthrough),
    };
    step("pod and client namespaces");
    let network = Network::new(&format!("demo-{}-{short}", plane.name()))?;
    step(match plane {
        DataPlane::Sidestep => "sidestep attach",
        DataPlane::Iptables { .. } => "iptables-restore",
    });
    let redirection = plane.apply(&network)?;
    step("sidecar as uid 1337");
    let mut config = SidecarConfig::new(forward, &[LO_PORT, ETH0_PORT]);
    config.ipv6 = false;
    let sidecar = Sidecar::start(&network.pod, &config)?;
    step("pong on 127.0.0.1 and on the pod's address");
    let pong = |address| Server::on(&network.pod).listen(address).banner("pong").start();
    let lo = pong(SocketAddr::from((Ipv4Addr::LOCALHOST, LO_PORT)))?;
    let eth0 = pong(network.pod4(ETH0_PORT))?;
    Ok(Stage { lo, eth0, sidecar, _redirection: redirection, network })
}

fn inbound(stage: &Stage, istio: Istio, bound: Bound, app: &RunningServer) -> Result<Cell> {
    let port = match bound {
        Bound::Lo => LO_PORT,
        Bound::Eth0 => ETH0_PORT,
    };
    let seen = Connect::to(stage.network.pod4(port)).from(&stage.network.outside)?;
    let verdict = Verdict::of(seen.outcome(), &seen.received);
    let logged = match seen.sockname {
        Some(client) => stage.sidecar.wait_logged_from(client).context("the client's connection")?,
        // The handshake itself was refused: the sidecar never saw it.
        None => Logged::default(),
    };
    let accepted = match verdict {
        Verdict::Pong => Some(app.wait_accepted(|_| true)?.peer),
        Verdict::Refused | Verdict::Other => app.accepted().first().map(|accepted| accepted.peer),
    };
    let mut ports = Ports::default();
    Ok(Cell {
        istio,
        bound,
        verdict,
        client: seen.outcome(),
        client_sockname: ports.name(seen.sockname),
        client_peername: ports.name(seen.peername),
        sidecar: sidecar_saw(&logged, &mut ports),
        app_peer: ports.name(accepted),
    })
}

fn outbound(stage: &Stage) -> Result<Outbound> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVICE.port()));
    let _service = Server::on(&stage.network.outside).listen(any).start()?;
    let seen = Connect::to(SERVICE).from(&stage.network.pod)?;
    let app = seen.sockname.with_context(|| format!("the pod's call failed: {seen:?}"))?;
    let report = seen.report().with_context(|| format!("the pod's call was not answered: {seen:?}"))?;
    let logged = stage.sidecar.wait_logged_from(app).context("the application's connection")?;
    let mut ports = Ports::default();
    Ok(Outbound {
        app_sockname: ports.name(seen.sockname),
        app_peername: ports.name(seen.peername),
        sidecar: sidecar_saw(&logged, &mut ports),
        server_peer: ports.name(Some(report.peer)),
        server_local: ports.name(Some(report.local)),
    })
}

fn sidecar_saw(logged: &Logged, ports: &mut Ports) -> SidecarSaw {
    SidecarSaw {
        downstream_remote: ports.name(logged.downstream_remote),
        downstream_local: ports.name(logged.downstream_local),
        upstream_local: ports.name(logged.upstream_local),
        upstream_host: ports.name(logged.upstream_host),
        flags: logged.flags.clone().unwrap_or_else(|| "-".to_owned()),
    }
}
