//! Open ends: entered when a connection begins, left when the journal has it, and looked at by readers in between.
//!
//! A reader has no context with a socket in it, only addresses. What they lead to may be gone and be something else by
//! now: nothing of it is believed unless socket and record carry the end's cookie, before and after they are read.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    counter::Event,
    flow::{FlowRecord, LiveEnd, Tally, flow_flag},
    workload::Shares,
};

use super::{
    free_list, maps,
    socket::{Socket, address, state},
    turn,
};
use crate::{accel, atomic, kernel_memory::copy, workload::Workload};

/// The record of a connection that begins is complete.
#[inline(always)]
pub(super) fn enter(me: &Workload, sk: *mut bpf_sock, record: &mut FlowRecord) {
    if let Some(end) = own(record) {
        // The entry has the tally of the socket's connection before.
        end.tally = tally_of(sk);
        turn::begin(end, record);
        return;
    }
    let Some((share, index, end)) = entry_for(me) else {
        me.count_event(Event::FlowNotListed);
        return;
    };
    record.live_index = index + 1;
    end.socket = address(sk);
    end.record = address(record);
    end.tally = tally_of(sk);
    end.tenancy = me.tenancy();
    turn::begin(end, record);
    atomic::add(&mut share.live, 1);
    // This comes last: from here on readers look at the entry. It was free until now, so that its cookie is zero.
    atomic::add(&mut end.cookie, record.cookie);
}

/// A free entry, with its index. None: there is none, or the workload has its share of them.
#[inline(always)]
fn entry_for(me: &Workload) -> Option<(&'static mut Shares, u32, &'static mut LiveEnd)> {
    let (share, limits) = me.share()?;
    if share.live >= limits.live {
        return None;
    }
    let index = free_list::take()?;
    Some((share, index, maps::live(index)?))
}

/// The entry a record has already.
#[inline(always)]
fn own(record: &FlowRecord) -> Option<&'static mut LiveEnd> {
    if record.live_index == 0 {
        return None;
    }
    maps::live(record.live_index - 1).filter(|end| end.cookie == record.cookie)
}

#[inline(always)]
fn tally_of(sk: *mut bpf_sock) -> u64 {
    accel::record::tally(sk).map_or(0, |tally| address(tally))
}

/// The journal has it, or the socket begins to listen.
#[inline(always)]
pub(super) fn leave(record: &mut FlowRecord) {
    if record.live_index == 0 {
        return;
    }
    let index = record.live_index - 1;
    record.live_index = 0;
    if let Some(end) = maps::live(index) {
        free_list::give_back(index, end, record.cookie);
    }
}

/// A socket has entered the acceleration's map. One that is accepted has no entry yet, and brings this along.
#[inline(always)]
pub(crate) fn mapped(sk: *mut bpf_sock, tally: &Tally) {
    if let Some(end) = maps::record(sk).and_then(|record| own(record)) {
        end.tally = address(tally);
    }
}

/// Its entry's index + 1; 0: it has none yet.
#[inline(always)]
pub(crate) fn entry_of(sk: *mut bpf_sock) -> u32 {
    maps::record(sk).filter(|record| own(record).is_some()).map_or(0, |record| record.live_index)
}

/// One end of a connection that the journal does not have.
pub(super) struct OpenEnd {
    pub(super) socket: Socket,
    /// State of TCP.
    pub(super) tcp: u32,
    /// Where its sends are counted; 0: nowhere.
    tally: u64,
}

impl OpenEnd {
    /// Copies the record of the end of an entry. None: a free entry, a connection that never began, or one that is over.
    #[inline(always)]
    pub(super) fn read(index: u32, record: &mut FlowRecord) -> Option<Self> {
        let end = maps::live(index)?;
        let LiveEnd { cookie, socket, record: at, tally, .. } = *end;
        let socket = Socket::at(socket);
        if cookie == 0 {
            return None;
        }
        if socket.cookie() != cookie {
            // The socket went while its workload was detached, and no program saw it.
            free_list::give_back(index, end, cookie);
            return None;
        }
        if !copy(at, record) || record.cookie != cookie {
            return None;
        }
        if record.syn_at == 0 || record.has(flow_flag::LISTENER) {
            return None;
        }
        let tcp = socket.state();
        let is_over = tcp == state::CLOSE && (record.close == 0 || !socket.has_owner());
        (!is_over).then_some(Self { socket, tcp, tally })
    }

    /// What sk_msg has seen of its sends. False: it never was in the map.
    #[inline(always)]
    pub(super) fn tally(&self, to: &mut Tally) -> bool {
        self.tally != 0 && copy(self.tally, to)
    }

    /// Whether what was read is of this end.
    #[inline(always)]
    pub(super) fn is_still(&self, record: &FlowRecord) -> bool {
        self.socket.cookie() == record.cookie
    }
}
