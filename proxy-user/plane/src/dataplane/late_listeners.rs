//! Sidecar listeners that were there before us. sock_ops sees only those that start to listen later.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use aya::maps::{MapData, SkStorage};
use proxy_common::{
    addr::Addr,
    names::map,
    policy::Policy,
    wire::{LISTENERS_OF_GROUP, LISTENERS_OF_WORKLOAD, ListenerGroup, SocketState, role},
};
use proxy_core::exit::{Class, Failure};

use super::{adopt::Adopter, pins::open_map, socket_states, wire::Raw};
use crate::{
    clock::monotonic_ns,
    netns::{Listener, Netns, OpenSocket, listeners, open_sockets, sockets_of},
    sys::bpf_map_elem,
};

const BPF_NOEXIST: u64 = 1;

/// Those of a namespace, with a copy of each socket whose process is visible here.
pub(super) struct Found {
    all: Vec<Listener>,
    sockets: Vec<(Listener, OwnedFd)>,
    /// Of the others those that were found by looking them up.
    adopted: usize,
}

/// Listeners at one address.
#[derive(Clone, Copy, Default)]
struct Members {
    all: usize,
    hidden: usize,
}

impl Found {
    /// Looks for them, which takes a walk through all processes if there are any.
    pub(super) fn of(netns: &Netns, policy: &Policy) -> Result<Self> {
        let all = wanted(netns, policy)?;
        let mut sockets = Vec::new();
        for (listener, found) in borrow(netns, &all)? {
            match found {
                Ok(Some((_, socket))) => sockets.push((listener.clone(), socket)),
                Ok(None) => {}
                Err(error) => tracing::debug!(listener = %listener.addr, "{error:#}: it is looked up"),
            }
        }
        Ok(Self { all, sockets, adopted: 0 })
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
        (self.all.len(), self.all.len().saturating_sub(self.sockets.len() + self.adopted))
    }

    /// Nobody is there who could be told that a running pod is cut off from its sidecar: an agent leaves it as it is.
    ///
    /// # Errors
    /// When one of them could not be reached.
    pub(super) fn all_reached(&self) -> Result<()> {
        match self.counts() {
            (_, 0) => Ok(()),
            (all, hidden) => Err(Failure::error(
                Class::Unavailable,
                format!(
                    "{hidden} of {all} sidecar listeners cannot be reached from here: captured now, the pod would be \
                     cut off from its sidecar; show the agent the node's processes (hostPID: true), or start the pod \
                     again"
                ),
            )),
        }
    }

    /// Puts them into the workload's places. Without `all` only those that have no mark yet: marks are for a socket's
    /// life, and say that it has a place only as long as the workload keeps its slot and its ports.
    pub(super) fn add(
        &mut self,
        netns: &Netns,
        node_dir: &Path,
        slot: u32,
        policy: &Policy,
        all: bool,
    ) -> Result<()> {
        if !self.sockets.is_empty() {
            let places = open_map(node_dir, map::LISTENERS)?;
            let mut states = socket_states::open(node_dir)?;
            for (listener, socket) in &self.sockets {
                mark(&mut states, &places, slot, policy, (listener, socket), all)?;
            }
        }
        self.adopted = 0;
        if self.counts().1 > 0 {
            self.adopted = self.adopt(netns, node_dir, slot, policy, all)?;
        }
        Ok(())
    }

    /// How many of those whose processes are not visible have been reached all the same.
    /// Without `all` they have their places, since the workload was attached or since they listen.
    fn adopt(&self, netns: &Netns, node_dir: &Path, slot: u32, policy: &Policy, all: bool) -> Result<usize> {
        let visible: HashSet<u64> = self.sockets.iter().map(|(listener, _)| listener.inode).collect();
        // Members of one group cannot be told apart: where one is hidden, all of them are looked up.
        let mut groups: BTreeMap<SocketAddr, Members> = BTreeMap::new();
        for listener in &self.all {
            let members = groups.entry(listener.addr).or_default();
            members.all += 1;
            members.hidden += usize::from(!visible.contains(&listener.inode));
        }
        groups.retain(|_, members| members.hidden > 0);
        let mut reached = 0;
        // Runs have a byte for their number: the second finds what bears the first's from another time.
        for run in runs() {
            let adopter = Adopter::new(node_dir, run)?;
            for (address, members) in std::mem::take(&mut groups) {
                let first = group(policy, address).filter(|_| all).map(|group| group.first_entry(slot));
                let adopted = adopter.adopt(netns, address, members.all, first)?;
                if adopted.marked == members.all && adopted.reached {
                    reached += members.hidden;
                } else {
                    groups.insert(address, members);
                }
            }
            if groups.is_empty() {
                break;
            }
        }
        Ok(reached)
    }
}

/// Two numbers, others than those of a moment ago.
fn runs() -> [u8; 2] {
    let first = monotonic_ns().map_or(1, |now| (now / 1000 % 254) as u8 + 1);
    [first, first + 1]
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

fn group(policy: &Policy, address: SocketAddr) -> Option<ListenerGroup> {
    let local = Addr::from(address.ip());
    let v4 = local.is_v4() && address.is_ipv4();
    ListenerGroup::of(address.port() == policy.outbound_port, &local, v4)
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
    let state = SocketState { role: role::LISTENER, ..SocketState::EMPTY };
    states.insert(&socket.as_fd(), Raw(state), 0).context("mark the sidecar's listener")?;
    let Some(group) = group(policy, listener.addr) else { return Ok(()) };
    let descriptor = socket.as_raw_fd().to_ne_bytes();
    let mut why = String::new();
    for place in 0..LISTENERS_OF_GROUP {
        let key = (group.first_entry(slot) + place).to_ne_bytes();
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

/// A process that has the socket open, and a copy of it.
pub(super) type Borrowed = (i32, OwnedFd);
/// A listener, and what came of borrowing its socket.
type Tried<'a> = (&'a Listener, Result<Option<Borrowed>>);

/// Copies of listeners' sockets, from the processes of the namespace that have them open: one walk through /proc for all
/// of them. None: of a process that is not visible here. An error: of one that may not be looked into.
pub(super) fn borrow<'a>(netns: &Netns, listeners: &'a [Listener]) -> Result<Vec<Tried<'a>>> {
    if listeners.is_empty() {
        return Ok(Vec::new());
    }
    Ok(borrow_from(open_sockets(Some(netns))?, listeners))
}

/// The same from these processes alone.
pub(super) fn borrow_of<'a>(pids: &[i32], listeners: &'a [Listener]) -> Vec<Tried<'a>> {
    borrow_from(pids.iter().copied().flat_map(sockets_of), listeners)
}

fn borrow_from(sockets: impl Iterator<Item = OpenSocket>, listeners: &[Listener]) -> Vec<Tried<'_>> {
    let mut borrowed: HashMap<u64, Borrowed> = HashMap::new();
    let mut refused: HashMap<u64, BTreeSet<String>> = HashMap::new();
    let wanted: HashSet<u64> = listeners.iter().map(|listener| listener.inode).collect();
    for socket in sockets {
        if !wanted.contains(&socket.inode) || borrowed.contains_key(&socket.inode) {
            continue;
        }
        match socket.borrow() {
            Ok(copy) => {
                borrowed.insert(socket.inode, (socket.pid, copy));
                if borrowed.len() == wanted.len() {
                    break;
                }
            }
            Err(error) => {
                refused.entry(socket.inode).or_default().insert(error.to_string());
            }
        }
    }
    let mut outcome = |inode| match (borrowed.remove(&inode), refused.remove(&inode)) {
        (None, Some(reasons)) => Err(anyhow!(
            "the sidecar's listener cannot be borrowed ({}); CAP_SYS_PTRACE is needed",
            Vec::from_iter(reasons).join(", ")
        )),
        (found, _) => Ok(found),
    };
    listeners.iter().map(|listener| (listener, outcome(listener.inode))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn one_walk_finds_all_of_them_and_goes_no_further_than_it_has_to() {
        let own: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let at = |addr| own.iter().any(|socket| socket.local_addr().unwrap() == addr);
        let mut wanted = listeners(None).unwrap();
        wanted.retain(|listener| at(listener.addr));
        assert_eq!(wanted.len(), 3);
        // What stands behind the last one of them is not looked at.
        let mut sockets: Vec<OpenSocket> = open_sockets(None).unwrap().collect();
        sockets.retain(|socket| wanted.iter().any(|listener| listener.inode == socket.inode));
        let more = std::iter::repeat_with(|| panic!("it goes on")).take(1);
        let found = borrow_from(sockets.into_iter().chain(more), &wanted);
        for (listener, found) in &found {
            let (_, copy) = found.as_ref().unwrap().as_ref().expect("it is visible");
            let copy = TcpListener::from(copy.try_clone().unwrap());
            assert_eq!(copy.local_addr().unwrap(), listener.addr);
        }
    }

    #[test]
    fn one_that_nobody_has_open_is_none() {
        let gone = Listener { inode: u64::MAX, addr: "127.0.0.1:15006".parse().unwrap(), uid: 0 };
        let found = borrow_from(open_sockets(None).unwrap(), std::slice::from_ref(&gone));
        assert!(matches!(found.as_slice(), [(_, Ok(None))]), "{found:?}");
    }
}
