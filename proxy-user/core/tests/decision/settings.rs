//! Random settings: as a [`Config`] made by hand, and as the flags and variables that stand for it.

use std::{collections::BTreeMap, io, net::IpAddr};

use ipnet::{IpNet, Ipv4Net};
use proptest::{collection::vec, prelude::*, sample::select};
use proxy_core::config::{
    CidrSet, Config, DnsCapture, DnsServers, Environment, Given, Host, Lookup, Mode, OwnerGroup, OwnerGroups,
    PortSet, Ports,
};

/// Ports with a meaning somewhere, and some without.
pub(crate) const PORTS: [u16; 18] =
    [0, 1, 22, 53, 80, 443, 3333, 8080, 8081, 9090, 15001, 15006, 15008, 15020, 15021, 15053, 15090, 65535];
pub(crate) const IDS: [u32; 9] = [0, 1, 3, 4, 203, 204, 1000, 1337, 4_294_967_294];
/// Groups that have a name on the test's host.
pub(crate) const GROUPS: [(&str, u32); 3] = [("java", 203), ("ftp", 204), ("istio-proxy", 1337)];

const NETS4: [&str; 18] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.96.0.0/16",
    "10.96.7.0/24",
    "10.96.7.7/32",
    "10.96.7.7/16",
    "10.77.0.0/16",
    "10.244.0.0/24",
    "10.244.0.2/32",
    "192.168.77.0/24",
    "192.168.77.2/32",
    "172.31.0.0/16",
    "172.31.0.1/32",
    "127.0.0.0/8",
    "127.1.2.3/32",
    "127.0.0.6/32",
    "128.0.0.0/1",
    "127.0.0.53/32",
];
const NETS6: [&str; 13] = [
    "::/0",
    "fd00::/8",
    "fd00:96::/64",
    "fd00:96::7/128",
    "fd00:244::/64",
    "fd00:244::2/128",
    "fd00:77::/64",
    "fd00:31::/64",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "::1/128",
    "::6/128",
    "::/96",
];
/// IPv4 in an IPv6 range: in the IPv6 program, where no packet is of it.
const MAPPED: [&str; 3] = ["::ffff:0:0/96", "::ffff:10.0.0.0/104", "::ffff:127.0.0.1/128"];
pub(crate) const DNS_SERVERS: [&str; 8] = [
    "127.0.0.53",
    "10.96.0.10",
    "10.244.0.1",
    "127.0.0.1",
    "::1",
    "fd00:96::10",
    "::127.0.0.53",
    "::ffff:9.9.9.9",
];
const LOOPBACKS: [&str; 5] = ["127.0.0.1/32", "127.0.0.0/8", "127.0.0.2/32", "127.1.2.3/16", "127.0.0.6/31"];
const NICS: [&str; 5] = ["lo", "eth0", "net1", "vnet0", "absent0"];

/// One workload's settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// Whether the IPv6 rules exist, which the namespace's addresses say.
    pub(crate) ipv6: bool,
}

/// A host with the groups of [`GROUPS`].
struct TestHost;

impl Host for TestHost {
    fn user_id(&self, name: &str) -> Lookup {
        Lookup::Unknown(format!("{name} is unknown"))
    }

    fn group_id(&self, name: &str) -> Lookup {
        match GROUPS.iter().find(|(known, _)| *known == name) {
            Some((_, gid)) => Lookup::Found(*gid),
            None => Lookup::Unknown(format!("{name} is unknown")),
        }
    }

    fn resolv_conf(&self) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Settings {
    /// The configuration as flags and variables are read.
    pub(crate) fn resolved(&self) -> Config {
        let given = Given::from_words(self.args()).expect("flags");
        given.resolve(&Environment::from_iter(self.env()), &TestHost).expect("a configuration").config
    }

    pub(crate) fn args(&self) -> Vec<String> {
        let config = &self.config;
        let mut args = Vec::new();
        let mut flag = |name: &str, value: String| args.push(format!("{name}={value}"));
        flag("--envoy-port", config.ports.outbound.to_string());
        flag("--inbound-capture-port", config.ports.inbound.to_string());
        flag("--inbound-tunnel-port", config.ports.tunnel.to_string());
        flag("--proxy-uid", list(&config.proxy_uids));
        flag("--proxy-gid", list(&config.proxy_gids));
        let mode = if config.mode == Mode::Tproxy { "TPROXY" } else { "REDIRECT" };
        flag("--istio-inbound-interception-mode", mode.into());
        flag("--istio-inbound-tproxy-mark", config.tproxy_mark.to_string());
        flag(
            "--istio-inbound-ports",
            match &config.inbound_include {
                PortSet::None => String::new(),
                PortSet::All => "*".into(),
                PortSet::List(ports) if ports.is_empty() => ",".into(),
                PortSet::List(ports) => list(ports),
            },
        );
        flag("--istio-local-exclude-ports", list(&config.inbound_exclude));
        flag("--istio-outbound-ports", list(&config.outbound_ports_include));
        flag("--istio-local-outbound-ports-exclude", list(&config.outbound_ports_exclude));
        flag(
            "--istio-service-cidr",
            match &config.outbound_include {
                CidrSet::All => "*".into(),
                CidrSet::List(nets) => list(nets),
            },
        );
        flag("--istio-service-exclude-cidr", list(&config.outbound_exclude));
        flag("--istio-exclude-interfaces", list(&config.exclude_interfaces));
        flag("--kube-virt-interfaces", list(&config.kube_virt_interfaces));
        flag("--drop-invalid", config.drop_invalid.to_string());
        flag("--dual-stack", config.dual_stack.to_string());
        if let Some(dns) = &config.dns {
            flag("--redirect-dns", "true".into());
            match &dns.servers {
                DnsServers::All => flag("--capture-all-dns", "true".into()),
                DnsServers::List(servers) if servers.is_empty() => flag("--dns-server", "none".into()),
                DnsServers::List(servers) => {
                    servers.iter().for_each(|server| flag("--dns-server", server.to_string()))
                }
            }
        }
        args
    }

    pub(crate) fn env(&self) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", self.config.loopback_cidr.to_string());
        match &self.config.owner_groups {
            OwnerGroups::Everyone => None,
            OwnerGroups::Only(groups) => set("ISTIO_OUTBOUND_OWNER_GROUPS", list(groups)),
            OwnerGroups::Except(groups) => set("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", list(groups)),
        };
        env
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let owners = (ids(), ids(), owner_groups());
    let inbound = (mode(), tproxy_mark(), port_set(), ports());
    let outbound = (ports(), ports(), cidr_set(), vec(net(), 0..5));
    let rest = (dns(), loopback(), nics(), nics(), listeners(), any::<[bool; 3]>());
    (owners, inbound, outbound, rest).prop_map(|(owners, inbound, outbound, rest)| {
        let (proxy_uids, proxy_gids, owner_groups) = owners;
        let (mode, tproxy_mark, inbound_include, inbound_exclude) = inbound;
        let (outbound_ports_include, outbound_ports_exclude, outbound_include, outbound_exclude) = outbound;
        let (dns, loopback_cidr, exclude_interfaces, kube_virt_interfaces, ports, switches) = rest;
        let [ipv6, dual_stack, drop_invalid] = switches;
        let config = Config {
            ports,
            proxy_uids,
            proxy_gids,
            mode,
            tproxy_mark,
            inbound_include,
            inbound_exclude,
            outbound_ports_include,
            outbound_ports_exclude,
            outbound_include,
            outbound_exclude,
            exclude_interfaces,
            kube_virt_interfaces,
            owner_groups,
            dns,
            loopback_cidr,
            drop_invalid,
            dual_stack,
            ..Config::default()
        };
        Settings { config, ipv6 }
    })
}

fn ids() -> impl Strategy<Value = Vec<u32>> {
    prop_oneof![2 => Just(vec![1337]), 2 => vec(select(&IDS[..]), 1..4)]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Redirect), Just(Mode::Tproxy)]
}

fn tproxy_mark() -> impl Strategy<Value = u32> {
    // 0 is the mark of packets nobody marked, 1338 the one Istio gives to self calls whatever this flag says.
    prop_oneof![8 => Just(1337), 1 => select(&[0, 1, 1338, u32::MAX][..])]
}

fn listeners() -> impl Strategy<Value = Ports> {
    let tunnel = prop_oneof![4 => Just(15008), 1 => select(&PORTS[..])];
    (any::<bool>(), tunnel).prop_map(|(usual, tunnel)| {
        let (outbound, inbound) = if usual { (15001, 15006) } else { (8081, 3333) };
        Ports { outbound, inbound, tunnel, ..Ports::default() }
    })
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![6 => select(&PORTS[..]), 1 => any::<u16>()]
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    prop_oneof![2 => Just(Vec::new()), 3 => vec(port(), 0..6)]
}

fn port_set() -> impl Strategy<Value = PortSet> {
    prop_oneof![
        1 => Just(PortSet::None),
        2 => Just(PortSet::All),
        2 => vec(port(), 0..6).prop_map(PortSet::List),
    ]
}

fn parsed<T>(texts: &'static [&'static str]) -> impl Strategy<Value = T>
where
    T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug,
{
    select(texts).prop_map(|text| text.parse().expect("an address or range"))
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        8 => parsed(&NETS4),
        6 => parsed(&NETS6),
        1 => parsed(&MAPPED),
        1 => (any::<[u8; 4]>(), 0..=32u8).prop_map(|(ip, length)| {
            IpNet::new(IpAddr::from(ip), length).expect("a length")
        }),
        1 => (any::<[u8; 16]>(), 0..=128u8).prop_map(|(ip, length)| {
            IpNet::new(IpAddr::from(ip), length).expect("a length")
        }),
    ]
}

fn cidr_set() -> impl Strategy<Value = CidrSet> {
    prop_oneof![2 => Just(CidrSet::All), 3 => vec(net(), 0..6).prop_map(CidrSet::List)]
}

fn loopback() -> impl Strategy<Value = Ipv4Net> {
    prop_oneof![3 => Just("127.0.0.1/32".parse().expect("a range")), 1 => parsed(&LOOPBACKS)]
}

fn nics() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(select(&NICS[..]).prop_map(str::to_owned), 1..4)]
}

fn dns() -> impl Strategy<Value = Option<DnsCapture>> {
    prop_oneof![
        3 => Just(None),
        2 => Just(Some(DnsServers::All)),
        3 => vec(parsed(&DNS_SERVERS), 0..4).prop_map(|servers| Some(DnsServers::List(servers))),
    ]
    .prop_map(|servers| servers.map(|servers| DnsCapture { servers }))
}

fn owner_groups() -> impl Strategy<Value = OwnerGroups> {
    prop_oneof![
        4 => Just(OwnerGroups::Everyone),
        2 => vec(owner_group(), 0..4).prop_map(OwnerGroups::Only),
        2 => vec(owner_group(), 1..4).prop_map(OwnerGroups::Except),
    ]
}

fn owner_group() -> impl Strategy<Value = OwnerGroup> {
    prop_oneof![
        select(&IDS[..]).prop_map(|gid| OwnerGroup { gid, name: None }),
        select(&GROUPS[..]).prop_map(|(name, gid)| OwnerGroup { gid, name: Some(name.to_owned()) }),
    ]
}
