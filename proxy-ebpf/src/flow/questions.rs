//! Questions for names over UDP: one is a packet that a socket of the workload sends to the agent's port, or one that its
//! sidecar sends to a resolver's; its answer comes from there. Every other packet of UDP is done with after a look at its
//! ports.
#![allow(unsafe_code, reason = "packets")]

use core::hint::black_box;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::bpf_skb_load_bytes,
};
use proxy_common::{
    addr::Addr,
    dns::{AGENT, PORT},
    policy::Table as _,
    questions::{Asked, Head, Outcome, PATIENCE, Questions, RESOLVERS, Resolvers, who, whom_of},
    tproxy::is_sidecar,
};

use super::{headers::Transport, maps};
use crate::{atomic, clock::now, ctx::load64, owner, workload::Workload};

/// A packet of UDP that a socket of the workload sends, or receives.
#[inline(always)]
pub(super) fn passes(skb: *mut __sk_buff, packet: Transport, sends: bool) {
    let Some((server, client)) = ports(packet, sends) else { return };
    if server != AGENT && server != PORT {
        return;
    }
    let Some(head) = message(skb, packet, sends) else { return };
    let Some(me) = Workload::of_cgroup() else { return };
    let (whom, address) = if server == AGENT {
        // Whatever address a socket asks it at.
        (who::AGENT, [0, u64::from(packet.is_v4)])
    } else {
        let Some(address) = address(skb, packet, sends) else { return };
        if sends && !is_the_sidecars(&me, skb) {
            return;
        }
        let Some(known) = maps::resolvers(me.slot) else { return };
        (resolver(known, address, sends), address)
    };
    let mark = head.mark(client, address, whom);
    let Some(places) = maps::places(me.slot, mark) else { return };
    if sends {
        asked(places, mark, me.slot);
    } else {
        answered(places, mark, head.outcome(), me.slot);
    }
}

#[inline(always)]
fn asked(places: &mut [Asked], mark: u64, slot: u32) {
    if let Some(sums) = maps::questions(slot, whom_of(mark)) {
        atomic::add(&raw mut sums.asked, 1);
    }
    let at = now();
    for place in places.iter_mut() {
        // Whoever asks again has had no answer.
        if place.mark == mark {
            place.at = at;
            return count(slot, mark, Outcome::Unanswered);
        }
    }
    for place in places.iter_mut() {
        let was = *place;
        let (was, is_over) = (was.mark, was.is_over(at));
        if (was == 0 || is_over) && atomic::exchange(&mut place.mark, was, mark) == was {
            place.at = at;
            if is_over {
                count(slot, was, Outcome::Unanswered);
            }
            return;
        }
    }
}

#[inline(always)]
fn answered(places: &mut [Asked], mark: u64, outcome: Outcome, slot: u32) {
    for place in places.iter_mut() {
        if place.mark != mark {
            continue;
        }
        let asked_at = place.at;
        // So that nobody who comes next is taken for as old.
        place.at = 0;
        if atomic::exchange(&mut place.mark, mark, 0) == mark {
            let took = now().wrapping_sub(asked_at);
            if took > PATIENCE {
                return count(slot, mark, Outcome::Unanswered);
            }
            count(slot, mark, outcome);
            if let Some(sums) = maps::questions(slot, whom_of(mark)) {
                // SAFETY: a field of a map value.
                unsafe { maps::measure(&raw mut sums.answers, took) };
            }
        }
        return;
    }
}

/// What came of a question with this mark.
#[inline(always)]
fn count(slot: u32, mark: u64, outcome: Outcome) {
    let Some(sums) = maps::questions(slot, whom_of(mark)) else { return };
    let sums: *mut Questions = sums;
    // LLVM knows that it is in bounds, and the verifier does not.
    let index = black_box(outcome as usize);
    if index < Outcome::COUNT {
        // SAFETY: an element of the array.
        atomic::add(unsafe { (&raw mut (*sums).outcomes).cast::<u64>().add(index) }, 1);
    }
}

/// The number of a resolver. One that nobody has asked yet gets one, where there is one left.
#[inline(always)]
fn resolver(known: &mut Resolvers, address: [u64; 2], asks: bool) -> usize {
    let mark = Resolvers::mark_of(address);
    for at in 0..RESOLVERS {
        let was = known.marks[at];
        if was == mark {
            return who::FIRST + at;
        }
        if was == 0 && asks {
            match atomic::exchange(&mut known.marks[at], 0, mark) {
                0 => {
                    known.addresses[at] = address;
                    return who::FIRST + at;
                }
                // Another processor's question to the same one.
                found if found == mark => return who::FIRST + at,
                _ => {}
            }
        }
    }
    who::OTHERS
}

/// Whether the sidecar's user, or its group, has made the socket that sends this.
#[inline(always)]
fn is_the_sidecars(me: &Workload, skb: *mut __sk_buff) -> bool {
    let sk = load64!(skb, __sk_buff, __bindgen_anon_2) as *mut bpf_sock;
    if sk.is_null() {
        return false;
    }
    let policy = me.policy();
    owner::recorded(sk).is_some_and(|owner| is_sidecar(me, &policy, owner.uid, owner.gid))
}

/// The server's port, and the client's.
#[inline(always)]
fn ports(packet: Transport, sends: bool) -> Option<(u16, u16)> {
    const UDP_HEADER: usize = 8;
    let Transport { begin: udp, end, .. } = packet;
    if udp + UDP_HEADER > end {
        return None;
    }
    // SAFETY: within the packet, as was compared.
    let [a, b, c, d] = unsafe { (udp as *const [u8; 4]).read() };
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some(if sends { (destination, source) } else { (source, destination) })
}

/// What a question sent, or an answer received, begins with. None: another packet.
#[inline(always)]
fn message(skb: *mut __sk_buff, packet: Transport, sends: bool) -> Option<Head> {
    const UDP_HEADER: usize = 8;
    let head = Head::of(load(skb, (packet.ip + UDP_HEADER) as u32, [0; 4])?);
    (head.is_answer != sends).then_some(head)
}

/// The server's address.
#[inline(always)]
fn address(skb: *mut __sk_buff, packet: Transport, sends: bool) -> Option<[u64; 2]> {
    if packet.is_v4 {
        load(skb, if sends { 16 } else { 12 }, [0; 4]).map(|octets| Addr::v4(octets).words())
    } else {
        load(skb, if sends { 24 } else { 8 }, [0u64; 2])
    }
}

/// Bytes of the packet, wherever the driver has put them. None: it is shorter.
#[inline(always)]
fn load<T>(skb: *mut __sk_buff, at: u32, mut into: T) -> Option<T> {
    // SAFETY: as many bytes as it takes, and any of them are a value of the types asked for here.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), at, (&raw mut into).cast(), size_of::<T>() as u32) };
    (failed == 0).then_some(into)
}
