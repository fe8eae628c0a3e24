//! What listens in a namespace: from sock_diag, which walks the listeners alone, or from /proc/net, which walks all
//! sockets of the machine.

use std::{
    collections::HashSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context, Result};

use super::{Netns, sock_diag};

const TCP_LISTEN: &str = "0A";
/// What `/proc/net/udp` calls a socket that is bound and not connected.
const UDP_UNCONNECTED: &str = "07";

/// A listening socket of the namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Listener {
    pub inode: u64,
    pub addr: SocketAddr,
    /// Owner of the socket.
    pub uid: u32,
}

/// TCP listeners. `None` is the caller's own namespace, which needs no privilege.
pub fn listeners(netns: Option<&Netns>) -> Result<Vec<Listener>> {
    match netns {
        Some(netns) => netns.within(tcp_here),
        None => tcp_here(),
    }
}

fn tcp_here() -> Result<Vec<Listener>> {
    // A kernel may lack it (CONFIG_INET_TCP_DIAG).
    sock_diag::listeners().or_else(|_| read_here(["tcp", "tcp6"], TCP_LISTEN))
}

/// Ports with a TCP listener of either family.
pub fn listening_ports(netns: Option<&Netns>) -> Result<HashSet<u16>> {
    Ok(listeners(netns)?.iter().map(|listener| listener.addr.port()).collect())
}

/// UDP sockets that anybody may send to: bound, and not connected.
pub fn udp_receivers(netns: Option<&Netns>) -> Result<Vec<Listener>> {
    read(netns, ["udp", "udp6"], UDP_UNCONNECTED)
}

fn read(netns: Option<&Netns>, tables: [&'static str; 2], state: &'static str) -> Result<Vec<Listener>> {
    match netns {
        Some(netns) => netns.within(move || read_here(tables, state)),
        None => read_here(tables, state),
    }
}

fn read_here(tables: [&str; 2], state: &str) -> Result<Vec<Listener>> {
    let mut found = Vec::new();
    for table in tables {
        let path = format!("/proc/thread-self/net/{table}");
        match fs::read_to_string(&path) {
            Ok(text) => found.extend(text.lines().filter_map(|line| parse(line, state))),
            // No IPv6 in this kernel.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        }
    }
    Ok(found)
}

/// One line, if it is a socket in this state: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout
/// inode ...` (net/ipv4/tcp_ipv4.c: get_tcp4_sock)
fn parse(line: &str, state: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != state {
        return None;
    }
    let addr = address(fields.get(1)?)?;
    Some(Listener { inode: fields.get(9)?.parse().ok()?, addr, uid: fields.get(7)?.parse().ok()? })
}

fn address(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(addr.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match addr.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0u8; 16];
            for i in 0..4 {
                octets[i * 4..i * 4 + 4].copy_from_slice(&word(i * 8)?);
            }
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(line: &str) -> Option<Listener> {
        parse(line, TCP_LISTEN)
    }

    #[test]
    fn listeners_are_read_and_others_are_not() {
        let v4 = "   0: 00000000:3A9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 4711 1";
        let want = Listener { inode: 4711, addr: "0.0.0.0:15006".parse().unwrap(), uid: 1337 };
        assert_eq!(listener(v4), Some(want));
        let v6 = "   0: 00000000000000000000000001000000:3A99 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 12 1";
        let want = Listener { inode: 12, addr: "[::1]:15001".parse().unwrap(), uid: 0 };
        assert_eq!(listener(v6), Some(want));
        assert_eq!(listener("   1: 0100007F:3A9E 0100007F:1234 01 0:0 00:0 0 0 0 13 1"), None);
        assert_eq!(listener("  sl  local_address rem_address   st tx_queue"), None);
        assert_eq!(listener("garbage"), None);
    }

    #[test]
    fn open_sockets_are_found() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        let of_kernel = listeners(None).unwrap();
        let ours = of_kernel.iter().find(|listener| listener.addr == at).unwrap();
        let of_proc = read_here(["tcp", "tcp6"], TCP_LISTEN).unwrap();
        assert!(of_proc.contains(ours), "{ours:?}");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        assert!(udp_receivers(None).unwrap().iter().any(|receiver| receiver.addr == at));
        udp.connect(at).unwrap();
        assert!(!udp_receivers(None).unwrap().iter().any(|receiver| receiver.addr == at));
    }
}
