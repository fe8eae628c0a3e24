//! Sidecar listeners that were there before us. sock_ops sees only those that start to listen later.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, SkStorage};
use proxy_common::{
    addr::Addr,
    names::map,
    policy::Policy,
    wire::{LISTENER_PLACES, LISTENERS_OF_WORKLOAD, ListenerGroup, SocketState, role},
};

use super::{pins::open_map, socket_states, wire::Raw};
use crate::{
    netns::{Listener, Netns, listeners, open_sockets},
    sys::bpf_map_elem,
};

const BPF_NOEXIST: u64 = 1;

/// Those of a namespace, with a copy of each socket that could be reached.
pub(super) struct Found {
    all: Vec<Listener>,
    sockets: Vec<(Listener, OwnedFd)>,
}

impl Found {
    /// Looks for them, which takes a walk through all processes if there are any.
    pub(super) fn of(netns: &Netns, policy: &Policy) -> Result<Self> {
        let mut found = Self { all: wanted(netns, policy)?, sockets: Vec::new() };
        for listener in &found.all {
            if let Some((_, socket)) = socket_of(netns, listener)? {
                found.sockets.push((listener.clone(), socket));
            }
        }
        Ok(found)
    }

    /// Looks again, if others than these are there by now.
    pub(super) fn renew(&mut self, netns: &Netns, policy: &Policy) -> Result<()> {
        if wanted(netns, policy)? != self.all {
            *self = Self::of(netns, policy)?;
        }
        Ok(())
    }

    /// How many there are, and how many of them could not be reached.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.all.len(), self.all.len() - self.sockets.len())
    }

    /// Puts them into the workload's places. Without `all` only those that have no mark yet: marks are for a socket's
    /// life, and say that it has a place only as long as the workload keeps its slot and its ports.
    pub(super) fn add(&self, node_dir: &Path, slot: u32, policy: &Policy, all: bool) -> Result<()> {
        if self.sockets.is_empty() {
            return Ok(());
        }
        let places = open_map(node_dir, map::LISTENERS)?;
        let mut states = socket_states::open(node_dir)?;
        for (listener, socket) in &self.sockets {
            mark(&mut states, &places, slot, policy, (listener, socket), all)?;
        }
        Ok(())
    }
}

fn wanted(netns: &Netns, policy: &Policy) -> Result<Vec<Listener>> {
    let mut found = listeners(Some(netns))?;
    found.retain(|it| it.addr.port() == policy.outbound_port || it.addr.port() == policy.inbound_port);
    Ok(found)
}

/// Empties a workload's places.
pub(super) fn clear(node_dir: &Path, slot: u32) -> Result<()> {
    let places = open_map(node_dir, map::LISTENERS)?;
    let first = slot * LISTENERS_OF_WORKLOAD;
    for place in first..first + LISTENERS_OF_WORKLOAD {
        bpf_map_elem::clear(places.as_fd(), place).context("empty a listener's place")?;
    }
    Ok(())
}

fn mark(
    states: &mut SkStorage<MapData, Raw<SocketState>>,
    places: &OwnedFd,
    slot: u32,
    policy: &Policy,
    (listener, socket): (&Listener, &OwnedFd),
    all: bool,
) -> Result<()> {
    let known = states.get(&socket.as_fd(), 0).is_ok_and(|state| state.0.role == role::LISTENER);
    if known && !all {
        return Ok(());
    }
    let local = Addr::from(listener.addr.ip());
    let v4 = local.is_v4() && listener.addr.is_ipv4();
    let outbound = listener.addr.port() == policy.outbound_port;
    let state = SocketState { role: role::LISTENER, ..SocketState::EMPTY };
    states.insert(&socket.as_fd(), Raw(state), 0).context("mark the sidecar's listener")?;
    let Some(group) = ListenerGroup::of(outbound, &local, v4) else { return Ok(()) };
    let descriptor = socket.as_raw_fd().to_ne_bytes();
    let mut why = String::new();
    for place in 0..LISTENER_PLACES {
        let key = (group.first_place(slot) + place).to_ne_bytes();
        match bpf_map_elem::update(places.as_fd(), &key, &descriptor, BPF_NOEXIST) {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    // No free place loses nothing unless the members of its SO_REUSEPORT group all close: they stand for each other.
    // What is no TCP socket (MPTCP, as Go programs listen unless told) is handed nothing.
    tracing::warn!(listener = %listener.addr, "the sidecar's listener is not used: {why}");
    Ok(())
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
