//! Random connections, most of them near something the settings name.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use proptest::{prelude::*, sample::select};
use proxy_core::config::{CidrSet, DnsServers, PortSet};
use tests::interpreter::Protocol;

use crate::{
    settings::{DNS_SERVERS, IDS, PORTS, Settings},
    topology::OWN,
};

const ADDRESSES: [&str; 24] = [
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.6",
    "127.0.0.53",
    "127.1.2.3",
    "::1",
    "::6",
    "10.244.0.1",
    "10.244.0.77",
    "10.96.7.7",
    "10.96.0.1",
    "10.95.255.255",
    "10.77.1.1",
    "192.168.77.9",
    "172.31.0.5",
    "1.1.1.1",
    "0.0.0.1",
    "fd00:244::1",
    "fd00:96::7",
    "fd00:77::9",
    "fd00:31::5",
    "2001:db8:1::5",
    "2001:db8:2::5",
    "::7f00:1",
];

/// What a local process does.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) protocol: Protocol,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) dport: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mark: u32,
}

/// What comes in from a neighbour.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) protocol: Protocol,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) dport: u16,
    pub(crate) interface: &'static str,
}

pub(crate) fn outgoing(settings: &Settings) -> impl Strategy<Value = Outgoing> + use<> {
    let own: Vec<IpAddr> = OWN.iter().map(|own| own.parse().expect("an address")).collect();
    let config = &settings.config;
    let sources = ["127.0.0.1", "127.0.0.6", "::1", "::6"].map(|ip| ip.parse().expect("an address"));
    let sources: Vec<IpAddr> = own.iter().copied().chain(sources).collect();
    let [sources4, sources6] = [true, false]
        .map(|v4| sources.iter().copied().filter(|source| source.is_ipv4() == v4).collect::<Vec<_>>());
    let uids = [&config.proxy_uids[..], &IDS[..]].concat();
    let gids = [&config.proxy_gids[..], &config.owner_groups.gids()[..], &IDS[..]].concat();
    // With the mark of self calls on an application's socket (SO_MARK takes CAP_NET_ADMIN) and a loopback range without
    // 127.0.0.1, TPROXY takes even what REDIRECT has sent to 127.0.0.1. Nobody has both; the decision does not know it.
    let self_call = if config.loopback_cidr.contains(&Ipv4Addr::LOCALHOST) { 1338 } else { 0 };
    let marks =
        prop_oneof![6 => Just(0), 1 => Just(config.tproxy_mark), 1 => Just(1337), 1 => Just(self_call)];
    let to = (protocol(), destination(settings), dport(settings));
    let from = (select(sources4), select(sources6), select(uids), select(gids), marks);
    (to, from).prop_map(|((protocol, dst, dport), (src4, src6, uid, gid, mark))| {
        let src = if dst.is_ipv4() { src4 } else { src6 };
        Outgoing { protocol, src, dst, dport, uid, gid, mark }
    })
}

pub(crate) fn incoming(settings: &Settings) -> impl Strategy<Value = Incoming> + use<> {
    // The kernel drops what arrives for 127.0.0.0/8 or ::1 before anybody is asked (net/ipv4/route.c: martian).
    let dst = destination(settings).prop_filter("no martian", |dst| !dst.is_loopback());
    let interface = select(&["eth0", "net1", "vnet0"][..]);
    (protocol(), dst, dport(settings), interface).prop_map(|(protocol, dst, dport, interface)| {
        let src = if dst.is_ipv4() { "10.244.0.1" } else { "fd00:244::1" };
        Incoming { protocol, src: src.parse().expect("an address"), dst, dport, interface }
    })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)]
}

fn destination(settings: &Settings) -> impl Strategy<Value = IpAddr> + use<> {
    let config = &settings.config;
    let parse =
        |texts: &[&str]| texts.iter().map(|ip| ip.parse().expect("an address")).collect::<Vec<IpAddr>>();
    let fixed = [parse(&ADDRESSES), parse(&OWN)].concat();
    let mut named = parse(&DNS_SERVERS);
    named.retain(|ip| ip.to_canonical() == *ip);
    let included = match &config.outbound_include {
        CidrSet::All => &[][..],
        CidrSet::List(nets) => nets,
    };
    let nets = included.iter().chain(&config.outbound_exclude).copied();
    let edges = nets.chain([IpNet::V4(config.loopback_cidr)]).flat_map(edges);
    // No packet carries a v4-mapped address, an unspecified one or a multicast one.
    named.extend(edges.filter(|ip| ip.to_canonical() == *ip && !ip.is_unspecified() && !ip.is_multicast()));
    if let Some(DnsServers::List(servers)) = config.dns.as_ref().map(|dns| &dns.servers) {
        named.extend(servers.iter().filter(|ip| ip.to_canonical() == **ip));
    }
    prop_oneof![
        4 => select(fixed),
        4 => select(named),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        1 => any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

/// First and last address, and their neighbours outside.
fn edges(net: IpNet) -> Vec<IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    let step = |ip: IpAddr, by: i8| match ip {
        IpAddr::V4(v4) => v4.to_bits().checked_add_signed(by.into()).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add_signed(by.into()).map(|bits| IpAddr::V6(bits.into())),
    };
    [Some(first), Some(last), step(first, -1), step(last, 1)].into_iter().flatten().collect()
}

fn dport(settings: &Settings) -> impl Strategy<Value = u16> + use<> {
    let config = &settings.config;
    let listed = match &config.inbound_include {
        PortSet::List(ports) => &ports[..],
        PortSet::None | PortSet::All => &[],
    };
    let own = [config.ports.outbound, config.ports.inbound, config.ports.tunnel, config.ports.dns];
    let lists =
        [listed, &config.inbound_exclude, &config.outbound_ports_include, &config.outbound_ports_exclude];
    let named = [&own[..], &lists.concat()].concat();
    prop_oneof![3 => select(&PORTS[..]), 3 => select(named), 1 => Just(53), 1 => any::<u16>()]
}
