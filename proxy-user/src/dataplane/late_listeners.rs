//! Sidecar listeners that were there before us. sock_ops sees only those that start to listen later.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd, OwnedFd},
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
use crate::netns::{Listener, Netns, listeners, open_sockets};

const BPF_NOEXIST: u64 = 1;

/// Adds them to the maps pinned in `dir`; with `anew` those that are there already make room first, as they may be of
/// other ports. Returns how many there were, and how many could not be reached.
pub(super) fn add(netns: &Netns, policy: &Policy, dir: &Path, anew: bool) -> Result<(usize, usize)> {
    let wanted: Vec<Listener> = listeners(Some(netns))?
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
    let local = Addr::from(listener.addr.ip());
    let v4 = local.is_v4() && listener.addr.is_ipv4();
    let outbound = listener.addr.port() == policy.outbound_port;
    let state = SocketState { role: role::LISTENER, ..SocketState::EMPTY };
    states.insert(&socket.as_fd(), Raw(state), 0).context("mark the sidecar's listener")?;
    let Some(group) = ListenerGroup::of(outbound, &local, v4) else { return Ok(()) };
    let mut why = String::new();
    for slot in 0..LISTENER_SLOTS {
        match slots.set(group.first_slot() + slot, &socket.as_raw_fd(), BPF_NOEXIST) {
            Ok(()) => return Ok(()),
            Err(error) => why = format!("{:#}", anyhow!(error)),
        }
    }
    // No free slot loses nothing unless the members of its SO_REUSEPORT group all close: they stand for each other.
    // What is no TCP socket (MPTCP, as Go programs listen unless told) is handed nothing.
    tracing::warn!(listener = %listener.addr, "the sidecar's listener is not used: {why}");
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

/// A copy of the socket, from the process of the namespace that has it open, and which one that is.
pub(super) fn socket_of(netns: &Netns, listener: &Listener) -> Result<Option<(i32, OwnedFd)>> {
    let mut refused = BTreeSet::new();
    for socket in open_sockets(Some(netns))?.filter(|socket| socket.inode == listener.inode) {
        match socket.borrow() {
            Ok(copy) => return Ok(Some((socket.pid, copy))),
            Err(error) => {
                refused.insert(error.to_string());
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
