//! The namespace's network as far as it matters: conntrack, MTU, ephemeral ports, addresses.

use std::{net::UdpSocket, os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result};
use proxy_plane::{netns::interfaces_here, sys::interface_mtu::interface_mtu};

use super::finding::{Finding, read};

/// In the calling thread's network namespace.
pub(super) fn findings() -> Vec<Finding> {
    vec![conntrack(), mtu(), ports(), ipv6()]
}

/// sidestep uses none; iptables beside it may run out.
fn conntrack() -> Finding {
    const CHECK: &str = "conntrack";
    let number = |name: &str| -> Option<u64> {
        read(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok()?.parse().ok()
    };
    let (Some(count), Some(max)) = (number("count"), number("max")) else {
        return Finding::ok(CHECK, "not loaded in this namespace; sidestep does not need it");
    };
    let found = format!("{count} of {max} entries; sidestep adds none");
    if max > 0 && count * 10 >= max * 9 {
        return Finding::degraded(
            CHECK,
            found,
            "the table is nearly full: raise net.netfilter.nf_conntrack_max, or remove the rules that track",
        );
    }
    Finding::ok(CHECK, found)
}

/// Nothing is encapsulated: only that captured connections run over lo matters.
fn mtu() -> Finding {
    const CHECK: &str = "mtu";
    /// Less than any pod's own: what fits eth0 would be cut on its way to the sidecar.
    const SMALL: u32 = 9_000;
    let mtus = match mtus() {
        Ok(mtus) => mtus,
        Err(error) => return Finding::unseen(CHECK, format!("{error:#}"), "see `ip link`"),
    };
    let list: Vec<String> = mtus.iter().map(|(name, mtu)| format!("{name} {mtu}")).collect();
    match mtus.iter().find(|(name, _)| name == "lo") {
        Some((_, mtu)) if *mtu < SMALL => Finding::degraded(
            CHECK,
            format!("lo has {mtu}, and captured connections run over it"),
            "ip link set lo mtu 65536",
        ),
        _ => Finding::ok(CHECK, format!("{}; nothing is encapsulated", list.join(", "))),
    }
}

/// Name and MTU of every interface.
fn mtus() -> Result<Vec<(String, u32)>> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("open a socket")?;
    let of = |name: String| {
        let mtu = interface_mtu(socket.as_fd(), &name).with_context(|| format!("MTU of {name}"))?;
        Ok((name, mtu))
    };
    interfaces_here()?.interfaces.into_iter().map(|interface| of(interface.name)).collect()
}

/// Each destination has one range of its own, IPv6 one in all.
fn ports() -> Finding {
    const CHECK: &str = "ip_local_port_range";
    const FEW: u32 = 10_000;
    let text = match read("/proc/sys/net/ipv4/ip_local_port_range") {
        Ok(text) => text,
        Err(error) => return Finding::unseen(CHECK, error.to_string(), "mount /proc"),
    };
    let numbers: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[low, high] = numbers.as_slice() else {
        return Finding::unseen(CHECK, text, "see ip-sysctl.rst");
    };
    let count = (high + 1).saturating_sub(low);
    if count < FEW {
        return Finding::degraded(
            CHECK,
            format!("{count} ports: captured IPv6 connections of a pod can be no more"),
            "sysctl -w net.ipv4.ip_local_port_range='32768 60999' in the namespace",
        );
    }
    Finding::ok(CHECK, format!("{low} to {high}"))
}

fn ipv6() -> Finding {
    const CHECK: &str = "ipv6";
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Finding::ok(CHECK, "not in this kernel: IPv4 only");
    }
    match read("/proc/sys/net/ipv6/conf/all/disable_ipv6").as_deref() {
        Ok("1") => Finding::ok(CHECK, "disabled in this namespace: IPv4 only"),
        _ => Finding::ok(CHECK, "on"),
    }
}
