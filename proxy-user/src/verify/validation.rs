//! What istio-validation does: the proxy's user connects to 127.0.0.6 (::6) and the connection has to arrive on the
//! inbound port with its original destination. Needs no privilege when it runs in the pod as the proxy's user.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use nix::unistd::Uid;
use proxy_core::config::{Config, RunOptions};
use proxy_plane::{
    cgroup::{Cgroup, TemporaryCgroup},
    netns::{self, Netns, listening_ports},
};

use super::{
    child::Probe,
    probe::Act,
    probe_cgroup,
    report::Report,
    trial::{ProbeSite, Trial},
};

const EVERY: Duration = Duration::from_secs(1);

/// A validation to run.
#[derive(Debug)]
pub struct Validation<'a> {
    pub config: &'a Config,
    pub run: &'a RunOptions,
    /// None: this process is in it.
    pub netns: Option<&'a Netns>,
    /// None: this process is in it.
    pub cgroup: Option<&'a Cgroup>,
}

/// The addresses of a family: the client's, the one it calls, and the listeners'.
pub(super) fn addresses(v6: bool) -> (IpAddr, IpAddr, IpAddr) {
    if v6 {
        let local = Ipv6Addr::LOCALHOST.into();
        (local, Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(), local)
    } else {
        let local = Ipv4Addr::LOCALHOST.into();
        (local, Ipv4Addr::new(127, 0, 0, 6).into(), local)
    }
}

/// Tries until it works or the time is over. The family is the pod's first address's, as Istio has it.
pub fn validate(what: &Validation<'_>) -> Result<Report> {
    let mut report = Report::default();
    let interfaces = match what.netns {
        Some(netns) => netns::interfaces(netns)?,
        None => netns::interfaces_here()?,
    };
    let v6 = interfaces.enable_ipv6(false).unwrap_or(false);
    let name = if v6 { "validation-ipv6" } else { "validation-ipv4" };
    let cgroup = what.cgroup.map(|cgroup| probe_cgroup::below(cgroup.path())).transpose()?;
    let site = ProbeSite {
        cgroup_procs: cgroup.as_ref().map(TemporaryCgroup::procs),
        netns: what.netns.map(|netns| PathBuf::from(netns.path())),
    };
    let deadline = Instant::now() + what.run.probe_timeout;
    let result = loop {
        let result = once(what, &site, v6);
        if result.is_ok() || Instant::now() + EVERY > deadline {
            break result;
        }
        thread::sleep(EVERY);
    };
    report.add(name, result.map_err(|error| {
        anyhow!("{error:#}; the workload is not ready for Istio: check `sidestep status` for its network namespace")
    }));
    Ok(report)
}

fn once(what: &Validation<'_>, site: &ProbeSite, v6: bool) -> Result<String> {
    let (from, to, at) = addresses(v6);
    let ports = what.config.ports;
    // Whoever may become another user becomes the proxy's; istio-validation runs as it anyway.
    let proxy = what.config.proxy_uids.first().copied().zip(what.config.proxy_gids.first().copied());
    let user = proxy.filter(|_| Uid::effective().is_root());
    let trial = Trial {
        user,
        from: Some(from),
        to: SocketAddr::new(to, what.run.probe_port),
        expect: ports.inbound,
        timeout: EVERY,
    };
    let taken = listening_ports(what.netns)?;
    if taken.contains(&ports.inbound) {
        // A sidecar is there already; that the call gets through to it is all that can be seen from here.
        return trial.against_sidecar(site, None);
    }
    let free = [ports.outbound, ports.inbound].into_iter().filter(|port| !taken.contains(port));
    let at = free.map(|port| SocketAddr::new(at, port)).collect();
    let listener =
        Probe::listen(&site.orders(user, Act::Listen { at })).context("stand in for the sidecar")?;
    trial.against(site, &listener)
}
