//! Sidecar listeners that were there before us. sock_ops sees only those that start to listen later.

use std::{
    collections::HashSet,
    fs,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, SkStorage, SockMap};
use proxy_common::{
    addr::Addr,
    names::map,
    policy::Policy,
    wire::{LISTENER_CAPACITY, LISTENER_SLOTS, ListenerGroup, SocketState, role},
};

use super::{pins::map_in, wire::Raw};
use crate::{netns::Netns, sys::pidfd};

const BPF_NOEXIST: u64 = 1;
const TCP_LISTEN: &str = "0A";

/// A listening socket of the namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Listener {
    inode: u64,
    pub(super) addr: SocketAddr,
}

/// Adds them to the maps pinned in `dir`; with `anew` those that are there already make room first, as they may be of
/// other ports. Returns how many there were, and how many could not be reached.
pub(super) fn add(netns: &Netns, policy: &Policy, dir: &Path, anew: bool) -> Result<(usize, usize)> {
    let wanted: Vec<Listener> = listening(netns)?
        .into_iter()
        .filter(|l| l.addr.port() == policy.outbound_port || l.addr.port() == policy.inbound_port)
        .collect();
    if wanted.is_empty() && !anew {
        return Ok((0, 0));
    }
    let mut slots = open_sockmap(dir)?;
    let mut states = open_storage(dir)?;
    let mut found = Vec::new();
    for listener in &wanted {
        if let Some((_, socket)) = socket_of(netns, listener)? {
            found.push((listener, socket));
        }
    }
    if anew {
        for slot in 0..LISTENER_CAPACITY {
            // Empty, most of them.
            let _ = slots.clear_index(&slot);
        }
    }
    for (listener, socket) in &found {
        mark(&mut states, &mut slots, policy, listener, socket, anew)?;
    }
    Ok((wanted.len(), wanted.len() - found.len()))
}

fn mark(
    states: &mut SkStorage<MapData, Raw<SocketState>>,
    slots: &mut SockMap<MapData>,
    policy: &Policy,
    listener: &Listener,
    socket: &OwnedFd,
    anew: bool,
) -> Result<()> {
    let known = states.get(&socket.as_fd(), 0).is_ok_and(|state| state.0.role == role::LISTENER);
    if known && !anew {
        return Ok(());
    }
    let state = SocketState { role: role::LISTENER, ..SocketState::EMPTY };
    states.insert(&socket.as_fd(), Raw(state), 0).context("mark the sidecar's listener")?;
    let v4 = Addr::from(listener.addr.ip()).is_v4() && listener.addr.is_ipv4();
    let group = if listener.addr.port() == policy.outbound_port {
        if v4 { ListenerGroup::Outbound4 } else { ListenerGroup::Outbound6 }
    } else {
        if listener.addr.ip().is_loopback() {
            return Ok(());
        }
        if v4 { ListenerGroup::Inbound4 } else { ListenerGroup::Inbound6 }
    };
    let free = (0..LISTENER_SLOTS)
        .find(|slot| slots.set(group.first_slot() + slot, &socket.as_raw_fd(), BPF_NOEXIST).is_ok());
    if free.is_none() {
        // Members of one SO_REUSEPORT group stand for each other, so that this loses nothing unless they all close.
        tracing::warn!(listener = %listener.addr, "no free slot for a sidecar listener");
    }
    Ok(())
}

fn open_sockmap(dir: &Path) -> Result<SockMap<MapData>> {
    let path = map_in(dir, map::LISTENERS);
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    Ok(SockMap::try_from(aya::maps::Map::SockMap(data))?)
}

fn open_storage(dir: &Path) -> Result<SkStorage<MapData, Raw<SocketState>>> {
    let path = map_in(dir, map::SOCKETS);
    let data = MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
    Ok(SkStorage::try_from(aya::maps::Map::SkStorage(data))?)
}

pub(super) fn listening(netns: &Netns) -> Result<Vec<Listener>> {
    netns.within(|| {
        let mut found = Vec::new();
        for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
            // No tcp6 without IPv6.
            let Ok(text) = fs::read_to_string(file) else { continue };
            found.extend(text.lines().skip(1).filter_map(parse));
        }
        Ok(found)
    })
}

/// One line of /proc/net/tcp or tcp6, if it is a listener.
fn parse(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != TCP_LISTEN {
        return None;
    }
    let (addr, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(addr.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match addr.len() {
        8 => std::net::Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut octets = [0u8; 16];
            for i in 0..4 {
                octets[i * 4..i * 4 + 4].copy_from_slice(&word(i * 8)?);
            }
            std::net::Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(Listener { inode: fields.get(9)?.parse().ok()?, addr: SocketAddr::new(ip, port) })
}

/// A copy of the socket, from the process of the namespace that has it open, and which one that is.
pub(super) fn socket_of(netns: &Netns, listener: &Listener) -> Result<Option<(i32, OwnedFd)>> {
    let target = format!("socket:[{}]", listener.inode);
    let home = format!("net:[{}]", netns.id().ino);
    let mut refused = HashSet::new();
    for entry in fs::read_dir("/proc").context("list /proc")?.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link.as_os_str() != home.as_str()) {
            continue;
        }
        let Ok(fds) = fs::read_dir(entry.path().join("fd")) else { continue };
        for fd in fds.filter_map(Result::ok) {
            if fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == target.as_str()) {
                let number: RawFd = fd.file_name().to_str().unwrap_or_default().parse().unwrap_or(-1);
                match pidfd::open(pid).and_then(|process| pidfd::getfd(process.as_fd(), number)) {
                    Ok(socket) => return Ok(Some((pid, socket))),
                    Err(error) => {
                        refused.insert(error.to_string());
                    }
                }
            }
        }
    }
    if refused.is_empty() {
        return Ok(None);
    }
    let reasons: Vec<String> = refused.into_iter().collect();
    Err(anyhow!(
        "the sidecar's listener cannot be borrowed ({}); CAP_SYS_PTRACE is needed",
        reasons.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_others_are_not() {
        let v4 = "   0: 00000000:3A9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 4711 1";
        assert_eq!(parse(v4), Some(Listener { inode: 4711, addr: "0.0.0.0:15006".parse().unwrap() }));
        let v6 = "   0: 00000000000000000000000001000000:3A99 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 12 1";
        assert_eq!(parse(v6), Some(Listener { inode: 12, addr: "[::1]:15001".parse().unwrap() }));
        assert_eq!(parse("   1: 0100007F:3A9E 0100007F:1234 01 0:0 00:0 0 0 0 13 1"), None);
        assert_eq!(parse("garbage"), None);
    }
}
