//! Random settings, as flags and variables.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// One workload's settings.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet {
    pub(crate) tproxy: bool,
    /// Rules for IPv6 exist: the pod's first address is an IPv4 one.
    pub(crate) ipv6: bool,
    /// uid and gid of the sidecar: the first of each list.
    pub(crate) proxy: (u32, u32),
    pub(crate) uids: Vec<u32>,
    pub(crate) gids: Vec<u32>,
    pub(crate) groups: Vec<u32>,
    /// Ports, ranges and interfaces the flags name, for aiming at them.
    pub(crate) ports: Vec<u16>,
    pub(crate) excluded_interfaces: Vec<&'static str>,
    pub(crate) virtual_interfaces: Vec<&'static str>,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

const PORTS: [u16; 10] = [22, 53, 80, 3333, 8080, 9090, 15006, 15008, 15020, 15090];
const RANGES: [&str; 20] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.96.0.0/16",
    "10.96.7.0/24",
    "10.96.7.7/32",
    "10.77.1.2/16",
    "10.10.0.0/24",
    "10.10.0.26/32",
    "10.20.0.0/24",
    "10.40.0.26/32",
    "1.1.0.0/16",
    "127.0.0.0/8",
    "127.1.2.3/32",
    "::/0",
    "fd00::/8",
    "fd00:96::/64",
    "fd00:77::/64",
    "2001:db8::/32",
    "::1/128",
    "::ffff:0:0/96",
];
const IDS: [u32; 7] = [0, 3, 4, 203, 204, 1000, 1337];

impl RuleSet {
    pub(crate) fn arguments(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    /// The DNS servers among the flags, which Istio's program reads from resolv.conf.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &str> {
        self.args.iter().filter_map(|arg| arg.strip_prefix("--dns-server="))
    }

    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        self.env.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}

/// As it is typed: for running it again.
impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}='{value}' ")?;
        }
        f.write_str("sidestep rules")?;
        self.args.iter().try_for_each(|arg| write!(f, " '{arg}'"))
    }
}

/// What the strategy draws, by topic.
type Owners = (Vec<u32>, Vec<u32>, u8, Vec<u32>);
type Inbound = (u8, Vec<u16>, Vec<u16>);
type Outbound = (bool, Vec<&'static str>, Vec<&'static str>, Vec<u16>, Vec<u16>);
type Rest = (u8, Vec<&'static str>, Vec<&'static str>, &'static str, [bool; 2]);

/// `index` sees to it that every kind comes: every third set is TPROXY, every fourth has virtual interfaces, and so on.
pub(crate) fn rule_sets(index: u64) -> impl Strategy<Value = RuleSet> {
    let ids = || prop_oneof![2 => Just(vec![1337]), 1 => vec(select(&IDS[1..]), 1..3)];
    let ports = || prop_oneof![1 => Just(Vec::new()), 2 => vec(select(&PORTS[..]), 1..4)];
    let ranges = |most| vec(select(&RANGES[..]), 0..most);
    let nics = || subsequence(vec!["lo", "eth0", "eth1", "eth2"], 1..3);
    let loopback = prop_oneof![5 => Just("127.0.0.1/32"), 1 => select(&["127.0.0.0/8", "127.0.0.0/16"][..])];
    let owners = (ids(), ids(), 0..5u8, vec(select(&IDS[..]), 0..4));
    let inbound = (0..4u8, ports(), ports());
    let outbound = (any::<bool>(), ranges(5), ranges(4), ports(), ports());
    let rest = (0..5u8, nics(), nics(), loopback, any::<[bool; 2]>());
    (owners, inbound, outbound, rest).prop_map(move |drawn| build(index, drawn))
}

fn build(index: u64, (owners, inbound, outbound, rest): (Owners, Inbound, Outbound, Rest)) -> RuleSet {
    let (uids, gids, group_kind, groups) = owners;
    let (inbound_kind, inbound_ports, inbound_exclude) = inbound;
    let (all_out, include, exclude, ports_include, ports_exclude) = outbound;
    let (dns_kind, excluded, virtual_ones, loopback, [dual_stack, drop_invalid]) = rest;
    let tproxy = index % 3 == 2;
    let excluded_interfaces = if index % 4 == 1 { excluded } else { Vec::new() };
    let virtual_interfaces = if index % 4 == 3 || index % 8 == 1 { virtual_ones } else { Vec::new() };

    let mut set = RuleSet {
        tproxy,
        ipv6: dual_stack,
        proxy: (uids[0], gids[0]),
        ports: [&inbound_ports[..], &inbound_exclude, &ports_include, &ports_exclude].concat(),
        groups: groups.clone(),
        excluded_interfaces,
        virtual_interfaces,
        args: Vec::new(),
        env: vec![("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", loopback.to_owned())],
        uids,
        gids,
    };
    let inbound_text = match inbound_kind {
        0 => String::new(),
        1 => list(&inbound_ports),
        _ => "*".into(),
    };
    let texts = [
        ("-u", list(&set.uids)),
        ("-g", list(&set.gids)),
        ("-m", if tproxy { "TPROXY" } else { "REDIRECT" }.into()),
        ("-b", inbound_text),
        ("-d", list(&inbound_exclude)),
        ("-i", if all_out { "*".into() } else { list(&include) }),
        ("-x", list(&exclude)),
        ("-q", list(&ports_include)),
        ("-o", list(&ports_exclude)),
        ("-c", list(&set.excluded_interfaces)),
        ("-k", list(&set.virtual_interfaces)),
    ];
    set.args = texts.into_iter().flat_map(|(flag, text)| [flag.to_owned(), text]).collect();
    let dns: &[&str] = match dns_kind {
        0 | 1 => &[],
        2 => &["--redirect-dns", "--capture-all-dns"],
        3 => &["--redirect-dns", "--dns-server=10.96.0.10", "--dns-server=127.0.0.53", "--dns-server=::1"],
        _ => &["--redirect-dns", "--dns-server=fd00:96::10", "--dns-server=10.10.0.9"],
    };
    set.args.extend(dns.iter().map(|&arg| arg.to_owned()));
    for (flag, on) in [("--dual-stack", dual_stack), ("--drop-invalid", drop_invalid)] {
        if on {
            set.args.push(flag.into());
        }
    }
    match group_kind {
        0 => set.env.push(("ISTIO_OUTBOUND_OWNER_GROUPS", list(&groups))),
        1 => set.env.push(("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", list(&groups))),
        _ => set.groups.clear(),
    }
    set
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
