//! What arrives from outside: the attached program itself is asked which listener a connection would get. A real
//! connection would need a way in from another network namespace, which this one need not have.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use anyhow::{Context, Result, bail};
use proxy_common::{names::program, wire::route_flag};
use proxy_core::{
    config::PortSet,
    explain::{Caller, Destination, Outcome, Pod, Question, explain},
};
use proxy_plane::{
    dataplane::WorkloadPins,
    sys::{
        bpf_link, bpf_pin,
        bpf_test_run::{self, Lookup},
    },
};

const REMOTE_PORT: u16 = 40000;

/// An address of documentation (RFC 5737, RFC 3849), which nobody has.
pub(super) fn nobody(v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 1).into()
    }
}

/// `Ok(Err)`: nothing to check, and why.
pub(super) fn check(pins: &WorkloadPins, pod: &Pod, v6: bool) -> Result<Result<String, String>> {
    let Some(own) = own_address(pod, v6) else {
        return Ok(Err("the pod has no address of this family".into()));
    };
    let Some((to, row)) = captured(pod, own)? else {
        return Ok(Err("this configuration captures nothing inbound".into()));
    };
    let path = pins.link(program::INBOUND);
    let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
    let id = bpf_link::program_id(link.as_fd()).context("the inbound program's id")?;
    let inbound = bpf_link::program_by_id(id).context("the inbound program")?;
    let from = SocketAddr::new(nobody(v6), REMOTE_PORT);
    match bpf_test_run::sk_lookup(inbound.as_fd(), from, to) {
        Ok(Lookup::Listener) => Ok(Ok(format!("{to} from outside goes to the inbound listener (row {row})"))),
        Ok(Lookup::Passed) => bail!("{to} from outside would not be captured, though row {row} says so"),
        Ok(Lookup::Dropped) => bail!(
            "{to} from outside would be refused: no listener on port {} is known; run `sidestep attach` again where \
             the sidecar's process is visible",
            pod.config.ports.inbound
        ),
        // ENOTSUPP: before Linux 5.13.
        Err(error) if error.raw_os_error() == Some(524) => {
            Ok(Err("this kernel (before 5.13) cannot run the program for a test".into()))
        }
        Err(error) => Err(error).context("run the inbound program"),
    }
}

fn own_address(pod: &Pod, v6: bool) -> Option<IpAddr> {
    let hosts = pod.tables.routes.iter().filter(|(net, route)| {
        route.flags & route_flag::LOCAL != 0 && net.prefix_len() == net.max_prefix_len()
    });
    let mut own = hosts.map(|(net, _)| net.addr()).filter(|ip| match ip {
        IpAddr::V4(v4) => !v6 && !v4.is_loopback() && !v4.is_link_local(),
        // ::1 and ::6 are on lo.
        IpAddr::V6(ip) => v6 && ip.segments()[..7] != [0; 7] && !ip.is_unicast_link_local(),
    });
    own.next()
}

/// A port the configuration captures, with the row that says so.
fn captured(pod: &Pod, own: IpAddr) -> Result<Option<(SocketAddr, &'static str)>> {
    let listed = match &pod.config.inbound_include {
        PortSet::List(ports) => ports.clone(),
        _ => vec![80, 8080, 9080, 443],
    };
    for port in listed {
        let question = Question {
            caller: Caller { owner: None, src: Some(nobody(own.is_ipv6())) },
            to: Destination { tcp: true, ip: own, port },
            inbound: true,
            // A test run has no interface to arrive by.
            interface: None,
            mark: 0,
        };
        let answer = match explain(pod, &question) {
            Ok(answer) => answer,
            // It asks for the interface.
            Err(_) => return Ok(None),
        };
        if let (Outcome::Inbound { .. }, Some(row)) = (&answer.verdict, answer.row) {
            return Ok(Some((SocketAddr::new(own, port), row)));
        }
    }
    Ok(None)
}
