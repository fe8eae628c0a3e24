//! The end of a connection: TCP is done, and the application lets go.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::flow::{Class, Close, FlowRecord, flow_flag, phase};

use super::{
    journal, live, maps,
    opening::forget_told,
    process,
    socket::{Socket, fin_sent, state},
};
use crate::{accel, atomic, workload::Workload};

/// Errors of a socket (asm-generic/errno.h).
mod errno {
    pub(super) const ENETUNREACH: u32 = 101;
    pub(super) const ETIMEDOUT: u32 = 110;
    pub(super) const ECONNREFUSED: u32 = 111;
    pub(super) const EHOSTUNREACH: u32 = 113;
}

/// Who gives up a connection after this long gives up on the other side: TCP itself waits no less for an answer
/// (`include/net/tcp.h: TCP_RTO_MIN`).
const ANSWERS_WITHIN_NS: u64 = 200_000_000;

/// STATE_CB. The socket still has its old state.
#[inline(always)]
pub(super) fn changed(me: &Workload, sk: *mut bpf_sock, old: u32, new: u32, now: u64) {
    if new != state::CLOSE && new != state::FIN_WAIT1 {
        return;
    }
    let Some(record) = maps::record(sk) else { return };
    if record.has(flow_flag::LISTENER) || record.syn_at == 0 {
        return;
    }
    if new == state::FIN_WAIT1 {
        record.flags |= flow_flag::CLOSED_FIRST;
        return;
    }
    let socket = Socket::of(sk);
    let error = socket.error();
    let seen = reason(old, error, now.wrapping_sub(record.syn_at));
    let is_killed = record.has(flow_flag::KILLED) && error == 0 && old != state::SYN_SENT;
    if error == 0 && (is_killed || seen == Close::Rst) {
        record.flags |= flow_flag::CLOSED_FIRST;
    }
    // The other end of a process that was killed sees a FIN or a reset.
    let close = match seen {
        _ if is_killed => killed(record, record.has(flow_flag::CLIENT)),
        Close::Fin | Close::Rst if is_other_killed(me, record) => {
            killed(record, !record.has(flow_flag::CLIENT))
        }
        other => other,
    };
    if record.has(flow_flag::CLIENT) {
        forget_told(record);
    }
    record.closed_at = now;
    record.sent_stacked = socket.sent(record, fin_sent(old));
    record.close = close as u8 + 1;
    // No process will let go of a socket that none has: it was never accepted. A connection that never came to be has nothing
    // to read, and its socket may be connected again.
    let alone = !socket.has_owner() || old == state::SYN_SENT;
    let done = if alone { phase::CLOSED | phase::RELEASED } else { phase::CLOSED };
    let before = atomic::fetch_or(&mut record.phase, done);
    if before & phase::CLOSED == 0 && (alone || before & phase::RELEASED != 0) {
        if before & phase::RELEASED == 0 {
            record.received_stacked = socket.received(record);
        }
        finish(me, sk, socket, record);
    }
}

/// cgroup/sock_release: the last process lets go.
#[inline(always)]
pub(super) fn released(me: &Workload, sk: *mut bpf_sock) {
    let Some(record) = maps::record(sk) else { return };
    if record.has(flow_flag::LISTENER) || record.syn_at == 0 || record.phase & phase::RELEASED != 0 {
        return;
    }
    let socket = Socket::of(sk);
    // Where the other end has closed before, the connection was about to end anyway, and that end has closed it.
    if record.close == 0 && !socket.saw_fin() && process::is_killed() {
        record.flags |= flow_flag::KILLED;
        if record.has(flow_flag::NEAR) && record.has(flow_flag::ESTABLISHED) {
            maps::tell_killed(me.slot, record.end_key(is_within(record)).mark());
        }
    }
    // This comes before the rest is read: `list.rs` says why.
    record.unread = socket.unread();
    record.received_stacked = socket.received(record);
    if atomic::fetch_or(&mut record.phase, phase::RELEASED) & phase::CLOSED != 0 {
        finish(me, sk, socket, record);
    }
}

/// Whether the process that had the other end on this node was killed.
#[inline(always)]
fn is_other_killed(me: &Workload, record: &FlowRecord) -> bool {
    if !record.has(flow_flag::NEAR) {
        return false;
    }
    let within = is_within(record);
    let slot = if within {
        me.slot
    } else if let Some((slot, _)) = accel::maps::workload_at(&record.remote) {
        slot
    } else {
        return false;
    };
    maps::take_killed(slot, record.end_key(within).reversed().mark())
}

/// The process of the client's end was killed, or that of the server's.
#[inline(always)]
fn killed(record: &FlowRecord, client: bool) -> Close {
    let is_sidecar = Class::from_index(record.class).is_some_and(|class| class.is_sidecars(client));
    if is_sidecar { Close::SidecarKilled } else { Close::Killed }
}

#[inline(always)]
fn is_within(record: &FlowRecord) -> bool {
    Class::from_index(record.class).is_some_and(Class::is_within)
}

#[inline(always)]
fn reason(old: u32, error: u32, waited_ns: u64) -> Close {
    match (old, error) {
        (_, errno::ETIMEDOUT) => Close::Timeout,
        (_, errno::ENETUNREACH | errno::EHOSTUNREACH) => Close::Unreachable,
        (state::SYN_SENT, errno::ECONNREFUSED) => Close::Refused,
        (state::SYN_SENT, _) if waited_ns >= ANSWERS_WITHIN_NS => Close::Timeout,
        (state::SYN_SENT, _) => Close::Aborted,
        (_, 0) if fin_sent(old) => Close::Fin,
        _ => Close::Rst,
    }
}

/// The record is complete: to the journal and the sums.
#[inline(always)]
fn finish(me: &Workload, sk: *mut bpf_sock, socket: Socket, record: &mut FlowRecord) {
    let tally = accel::record::tally(sk);
    journal::write(me, socket, record, tally);
    journal::sum(me, record, tally);
    // This comes last: in between the end is in both, and readers look at open ends first.
    live::leave(record);
}
