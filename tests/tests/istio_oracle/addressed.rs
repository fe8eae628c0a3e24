//! Random connections, most of them near something the settings name.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proxy_core::config::{CidrSet, Config, DnsServers, PortSet};
use tests::interpreter::Protocol;
use tests::random::Random;
use tests::settings::Families;
use tests::settings::host::INTERFACES;

const ADDRESSES: [&str; 21] = [
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.6",
    "127.0.0.53",
    "127.1.2.3",
    "::1",
    "::6",
    "10.244.0.77",
    "10.96.7.7",
    "10.96.0.1",
    "10.95.255.255",
    "10.77.1.1",
    "10.78.1.1",
    "192.168.77.9",
    "172.31.0.5",
    "1.1.1.1",
    "fd00:244::1",
    "fd00:96::7",
    "fd00:78::9",
    "fd00:31::5",
    "2001:db8:1::5",
];
const PORTS: [u16; 14] = [0, 22, 53, 53, 80, 443, 3333, 8080, 9090, 15001, 15006, 15008, 15020, 15053];
const IDS: [u32; 6] = [0, 203, 204, 1000, 1337, 4_294_967_294];

/// One connection or question.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) protocol: Protocol,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) dport: u16,
    /// The one it leaves by, or arrives by.
    pub(crate) interface: &'static str,
    /// uid and gid of the process; nobody's: it arrives from elsewhere.
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) mark: u32,
}

impl Connection {
    pub(crate) fn arrives(&self) -> bool {
        self.owner.is_none()
    }
}

/// Where connections go under one setting.
pub(crate) struct Aims {
    families: Families,
    /// Whether port 53 is asked more often.
    dns: bool,
    addresses: Vec<IpAddr>,
    own: Vec<IpAddr>,
    ports: Vec<u16>,
    uids: Vec<u32>,
    gids: Vec<u32>,
    marks: Vec<u32>,
}

impl Aims {
    pub(crate) fn new(config: &Config, families: Families) -> Self {
        let has = |ip: &IpAddr| if ip.is_ipv4() { families.has_v4() } else { families.has_v6() };
        let own: Vec<IpAddr> = own_nets().map(|(_, net)| net.addr()).filter(has).collect();
        let mut aims = Self {
            families,
            dns: config.dns_active().is_some(),
            addresses: Vec::new(),
            own,
            ports: ports(config),
            uids: [&config.proxy_uids[..], &IDS].concat(),
            gids: [&config.proxy_gids[..], &config.owner_groups.gids(), &IDS].concat(),
            marks: vec![0, 0, 0, 0, 0, 0, config.tproxy_mark, 1337],
        };
        // With the mark of self calls on an application's socket (SO_MARK takes CAP_NET_ADMIN) and a loopback range
        // without 127.0.0.1, TPROXY takes even what REDIRECT has sent to 127.0.0.1. Nobody has both.
        if config.loopback_cidr.contains(&Ipv4Addr::LOCALHOST) {
            aims.marks.push(1338);
        }
        let fixed = ADDRESSES.iter().map(|ip| ip.parse().expect("an address"));
        let addresses = fixed.chain(named(config)).chain(aims.own.clone());
        aims.addresses = addresses.filter(|ip| is_destination(ip) && aims.route(*ip).is_some()).collect();
        aims
    }

    pub(crate) fn outgoing(&self, random: &mut Random) -> Connection {
        let dst = *random.pick(&self.addresses);
        let interface = self.route(dst).expect("addresses without a route are not asked");
        Connection {
            protocol: protocol(random),
            src: self.source(random, dst),
            dst,
            dport: self.port(random),
            interface,
            owner: Some((*random.pick(&self.uids), *random.pick(&self.gids))),
            mark: *random.pick(&self.marks),
        }
    }

    /// `None`: by chance something the kernel drops before anybody is asked (net/ipv4/route.c: martian).
    pub(crate) fn incoming(&self, random: &mut Random) -> Option<Connection> {
        let aims = if random.one_in(3) { &self.addresses } else { &self.own };
        let dst = *random.pick(aims);
        let src = if dst.is_ipv4() { "10.244.0.1" } else { "fd00:244::1" };
        (!dst.is_loopback()).then(|| Connection {
            protocol: protocol(random),
            src: src.parse().expect("an address"),
            dst,
            dport: self.port(random),
            interface: INTERFACES[random.below(INTERFACES.len())].0,
            owner: None,
            mark: 0,
        })
    }

    /// The interface a packet leaves by: lo for what stays here.
    fn route(&self, dst: IpAddr) -> Option<&'static str> {
        let passthrough = dst.to_string() == "::6" && self.families.has_v6();
        if dst.is_loopback() || passthrough || self.own.contains(&dst) {
            return Some("lo");
        }
        let has = if dst.is_ipv4() { self.families.has_v4() } else { self.families.has_v6() };
        let routes = interface_nets().filter(|(_, net)| net.contains(&dst));
        let longest = routes.max_by_key(|(_, net)| net.prefix_len());
        has.then_some(longest?.0)
    }

    fn source(&self, random: &mut Random, dst: IpAddr) -> IpAddr {
        let loopback = if dst.is_ipv4() { ["127.0.0.1", "127.0.0.6"] } else { ["::1", "::6"] };
        let mut sources: Vec<IpAddr> =
            self.own.iter().copied().filter(|own| own.is_ipv4() == dst.is_ipv4()).collect();
        sources.extend(loopback.map(|ip| ip.parse::<IpAddr>().expect("an address")));
        *random.pick(&sources)
    }

    fn port(&self, random: &mut Random) -> u16 {
        if self.dns && random.one_in(4) {
            return 53;
        }
        if random.one_in(10) { random.number() as u16 } else { *random.pick(&self.ports) }
    }
}

fn protocol(random: &mut Random) -> Protocol {
    if random.one_in(4) { Protocol::Udp } else { Protocol::Tcp }
}

/// Networks of the interfaces: their own, and what is routed over them.
fn interface_nets() -> impl Iterator<Item = (&'static str, IpNet)> {
    let routed = INTERFACES.iter().flat_map(|(name, _, nets)| nets.map(|net| parsed(name, net)));
    own_nets().chain(routed)
}

fn own_nets() -> impl Iterator<Item = (&'static str, IpNet)> {
    INTERFACES.iter().flat_map(|(name, nets, _)| nets.map(|net| parsed(name, net)))
}

fn parsed(name: &'static str, net: &str) -> (&'static str, IpNet) {
    (name, net.parse().expect("an address or range"))
}

/// Ranges and servers of the configuration: their first and last address, and the neighbours outside.
fn named(config: &Config) -> impl Iterator<Item = IpAddr> {
    let included = match &config.outbound_include {
        CidrSet::All => &[][..],
        CidrSet::List(nets) => nets,
    };
    let nets = included.iter().chain(&config.outbound_exclude).copied();
    let servers = match config.dns.as_ref().map(|dns| &dns.servers) {
        Some(DnsServers::List(servers)) => servers.clone(),
        Some(DnsServers::All) | None => Vec::new(),
    };
    nets.chain([IpNet::V4(config.loopback_cidr)]).flat_map(edges).chain(servers)
}

fn edges(net: IpNet) -> Vec<IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    let step = |ip: IpAddr, by: i8| match ip {
        IpAddr::V4(v4) => v4.to_bits().checked_add_signed(by.into()).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add_signed(by.into()).map(|bits| IpAddr::V6(bits.into())),
    };
    [Some(first), Some(last), step(first, -1), step(last, 1)].into_iter().flatten().collect()
}

/// No packet has a v4-mapped, unspecified or multicast destination, and nobody connects to a broadcast address.
fn is_destination(ip: &IpAddr) -> bool {
    let broadcast = match ip {
        IpAddr::V4(v4) => {
            let ends = interface_nets()
                .any(|(_, net)| net.contains(ip) && (net.network() == *ip || net.broadcast() == *ip));
            v4.is_broadcast()
                || v4.octets()[0] == 0
                || ends
                || matches!(v4.octets(), [127, 255, 255, 255] | [127, 0, 0, 0])
        }
        // The anycast address of a network's routers.
        IpAddr::V6(_) => interface_nets().any(|(_, net)| net.network() == *ip),
    };
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    ip.to_canonical() == *ip && !ip.is_unspecified() && !ip.is_multicast() && !broadcast && !link_local
}

fn ports(config: &Config) -> Vec<u16> {
    let listed = match &config.inbound_include {
        PortSet::List(ports) => &ports[..],
        PortSet::None | PortSet::All => &[],
    };
    let own = [config.ports.outbound, config.ports.inbound, config.ports.tunnel, config.ports.dns];
    let lists = [
        listed,
        &config.inbound_exclude,
        &config.outbound_ports_include,
        &config.outbound_ports_exclude,
        &own,
        &PORTS,
    ];
    lists.concat()
}
