//! Programs the lab tests and the demo run, and the Debian packages that hold them.

use crate::step;

/// What the demo runs besides Envoy.
const OF_THE_DEMO: &[(&str, &str)] =
    &[("iptables-restore", "iptables"), ("ip6tables-restore", "iptables"), ("python3", "python3")];

const TOOLS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("iptables-restore", "iptables"),
    ("ip6tables-restore", "iptables"),
    ("nsenter", "util-linux"),
    ("nginx", "nginx-light"),
    ("tcpdump", "tcpdump"),
    ("haproxy", "haproxy"),
    ("conntrack", "conntrack"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("python3", "python3"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
    ("setpriv", "util-linux"),
    ("prometheus", "prometheus"),
    ("promtool", "prometheus"),
    ("apache2", "apache2-bin"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("pg_ctlcluster", "postgresql"),
    ("javac", "default-jdk-headless"),
    ("tmux", "tmux"),
    ("chromium", "chromium"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    // Not on PATH: where Debian has them.
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Whose tools.
#[derive(Clone, Copy)]
pub(crate) enum For {
    Demo,
    Tests,
}

pub(crate) fn absent_packages(whose: For) -> Vec<&'static str> {
    packages_of_absent(match whose {
        For::Demo => OF_THE_DEMO,
        For::Tests => TOOLS,
    })
}

/// Packages of the programs that are nowhere on PATH. Programs are looked for, not packages, so that a tool
/// installed by other means counts.
pub(crate) fn packages_of_absent(tools: &[(&str, &'static str)]) -> Vec<&'static str> {
    let mut packages: Vec<_> = tools
        .iter()
        .filter(|(program, _)| step::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}
