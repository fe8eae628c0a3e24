//! Whether there is memory for what waits at a receiver. Redirected bytes are charged to the receiver at once: over
//! `tcp_mem` the sender's send fails with ENOMEM (`net/ipv4/tcp_bpf.c: bpf_tcp_ingress`), over a cgroup's `memory.max` a
//! process of the pod is killed (docs/kernel.md: "Memory"). Stock TCP stops the sender with its window instead.

use super::peer;
use crate::maps;

/// A queue shorter than this is not looked at: the window of a fresh TCP connection holds more.
const WORTH_A_LOOK: u32 = 16 << 10;
/// Unless the receiver's workload has so many sockets in the map that queues of this length would together be more than
/// this. It is half of what [`RESERVE`] keeps free.
const NOT_LOOKED_AT: u64 = 4 << 20;
/// Pages that stay free in a cgroup, besides what the receiver may have waiting: charges are made 64 pages ahead on each
/// CPU (`mm/memcontrol.c: MEMCG_CHARGE_BATCH`), and several connections look at the same time.
const RESERVE: u64 = 2048;
const PAGE: u64 = 4096;
/// Cgroups from the container up that may have limits: kubelet makes four. Bounded for the verifier.
const DEPTH: usize = 6;
/// `sysctl_tcp_mem[1]`: from here on the kernel is under pressure, and shrinks windows.
const PRESSURE: u32 = 8;

/// False when `waiting` bytes at the receiver, of the workload in `slot`, could bring a limit near.
#[inline(always)]
pub(super) fn has_room(sk: u64, slot: u32, waiting: u32, limit: u32) -> bool {
    if waiting < WORTH_A_LOOK && u64::from(waiting).wrapping_mul(sockets(slot)) < NOT_LOOKED_AT {
        return true;
    }
    // What cannot be read limits nothing: the kernel has no such limit.
    !under_pressure(sk).unwrap_or(false) && cgroup_has_room(sk, limit).unwrap_or(true)
}

/// How many of a workload's sockets are in the map.
#[inline(always)]
fn sockets(slot: u32) -> u64 {
    // A workload without a slot has none.
    maps::share(slot).map_or(0, |(share, _)| share.sockets)
}

/// All TCP sockets of the machine together.
#[inline(always)]
fn under_pressure(sk: u64) -> Option<bool> {
    let at = peer::memory_offsets();
    let proto: u64 = peer::read(sk, at.sk_prot)?;
    // CPUs keep some in reserve, so that with little in use the sum is below zero.
    let allocated: i64 = peer::read(peer::read(proto, at.proto_memory_allocated)?, 0)?;
    let pressure: i64 = peer::read(peer::read(proto, at.proto_sysctl_mem)?, PRESSURE)?;
    Some(allocated >= pressure)
}

/// The receiver's cgroup and those above it.
#[inline(always)]
fn cgroup_has_room(sk: u64, limit: u32) -> Option<bool> {
    let at = peer::memory_offsets();
    if at.sk_memcg == 0 {
        return None;
    }
    let memcg: u64 = peer::read(sk, at.sk_memcg)?;
    if memcg == 0 {
        return None;
    }
    let mut counter = memcg + u64::from(at.memcg_memory);
    for _ in 0..DEPTH {
        let usage: u64 = peer::read(counter, at.counter_usage)?;
        let most: u64 = peer::read(counter, at.counter_max)?;
        if most.saturating_sub(usage) < RESERVE + u64::from(limit) / PAGE {
            return Some(false);
        }
        counter = peer::read(counter, at.counter_parent)?;
        if counter == 0 {
            break;
        }
    }
    Some(true)
}
