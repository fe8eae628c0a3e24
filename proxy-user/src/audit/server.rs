//! Servers: what listens on one address, in how many sockets, and whose they are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use nix::sys::socket::{getsockopt, sockopt};
use proxy_plane::netns::{Listener, Netns, OpenSocket, listeners, open_sockets, udp_receivers};
use serde::Serialize;

use super::process::Process;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// All sockets of one protocol on one address and port: an SO_REUSEPORT group is one server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Server {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    /// Bound to `::` without IPV6_V6ONLY: it answers IPv4 too.
    pub dual_stack: bool,
    pub sockets: usize,
    /// Owner of the sockets.
    pub uid: u32,
    /// Those that hold them. Empty: none is visible here.
    pub processes: Vec<Process>,
}

impl Server {
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// The servers of a namespace. UDP sockets on ports the kernel hands out are clients that wait for answers.
    pub fn all(netns: &Netns) -> Result<Vec<Self>> {
        let mut groups: BTreeMap<(Protocol, IpAddr, u16), Vec<Listener>> = BTreeMap::new();
        for listener in listeners(Some(netns))? {
            groups.entry(key(Protocol::Tcp, &listener)).or_default().push(listener);
        }
        let ephemeral = netns.within(ephemeral_ports)?;
        for receiver in udp_receivers(Some(netns))? {
            if !(ephemeral.0..=ephemeral.1).contains(&receiver.addr.port()) {
                groups.entry(key(Protocol::Udp, &receiver)).or_default().push(receiver);
            }
        }
        let holders = holders(netns, groups.values().flatten().map(|listener| listener.inode).collect())?;
        let mut servers: Vec<Self> = groups
            .into_iter()
            .map(|((protocol, address, port), sockets)| Self {
                protocol,
                address,
                port,
                dual_stack: address.is_ipv6() && address.is_unspecified() && takes_ipv4(&sockets, &holders),
                sockets: sockets.len(),
                uid: sockets.first().map_or(0, |socket| socket.uid),
                processes: processes(&sockets, &holders),
            })
            .collect();
        servers.sort_by_key(|server| (server.protocol, server.port, server.address));
        Ok(servers)
    }
}

/// An IPv6 socket on a v4-mapped address is a server of IPv4.
fn key(protocol: Protocol, listener: &Listener) -> (Protocol, IpAddr, u16) {
    (protocol, listener.addr.ip().to_canonical(), listener.addr.port())
}

/// net.ipv4.ip_local_port_range; /proc/sys/net shows the reader's namespace.
fn ephemeral_ports() -> Result<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
    Ok((numbers.next().unwrap_or(32768), numbers.next().unwrap_or(60999)))
}

type Holders = HashMap<u64, Vec<OpenSocket>>;

/// Who holds the sockets: processes of the namespace, and for the rest whoever got one handed over.
fn holders(netns: &Netns, wanted: HashSet<u64>) -> Result<Holders> {
    let mut found = Holders::new();
    for socket in open_sockets(Some(netns))?.filter(|socket| wanted.contains(&socket.inode)) {
        found.entry(socket.inode).or_default().push(socket);
    }
    let missing: HashSet<u64> = wanted.into_iter().filter(|inode| !found.contains_key(inode)).collect();
    if !missing.is_empty() {
        for socket in open_sockets(None)?.filter(|socket| missing.contains(&socket.inode)) {
            found.entry(socket.inode).or_default().push(socket);
        }
    }
    Ok(found)
}

fn processes(sockets: &[Listener], holders: &Holders) -> Vec<Process> {
    let held = sockets.iter().filter_map(|socket| holders.get(&socket.inode)).flatten();
    let pids: BTreeSet<i32> = held.map(|socket| socket.pid).collect();
    pids.into_iter().filter_map(Process::read).collect()
}

/// Only the socket itself knows. Where it cannot be borrowed, the default: an audit had better see too much.
fn takes_ipv4(sockets: &[Listener], holders: &Holders) -> bool {
    let held = sockets.iter().filter_map(|socket| holders.get(&socket.inode)).flatten();
    let copy = held.filter_map(|socket| socket.borrow().ok()).next();
    copy.and_then(|socket| getsockopt(&socket, sockopt::Ipv6V6Only).ok()).is_none_or(|only| !only)
}
