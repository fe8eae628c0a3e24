//! Questions to the agent over UDP: one is a packet that a socket of the workload sends to the agent's port, its answer one
//! that comes from there. Every other packet of UDP is done with after a look at its ports.
#![allow(unsafe_code, reason = "packets")]

use core::hint::black_box;

use proxy_common::{
    dns::AGENT,
    questions::{Asked, Head, Outcome, PATIENCE, Questions},
};

use super::{headers::Transport, maps};
use crate::{atomic, clock::now, workload::Workload};

/// A packet of UDP that a socket of the workload sends, or receives.
#[inline(always)]
pub(super) fn passes(packet: Transport, sends: bool) {
    let Some((head, mark)) = message(packet, sends) else { return };
    let Some(me) = Workload::of_cgroup() else { return };
    let Some(sums) = maps::questions(me.slot) else { return };
    let Some(places) = maps::asked(me.slot, mark) else { return };
    if sends {
        asked(places, mark, sums);
    } else {
        answered(places, mark, head.outcome(), sums);
    }
}

#[inline(always)]
fn asked(places: &mut [Asked], mark: u64, sums: &mut Questions) {
    atomic::add(&raw mut sums.asked, 1);
    let at = now();
    for place in places.iter_mut() {
        // Whoever asks again has had no answer.
        if place.mark == mark {
            place.at = at;
            return count(sums, Outcome::Unanswered);
        }
    }
    for place in places.iter_mut() {
        let was = *place;
        let (was, is_over) = (was.mark, was.is_over(at));
        if (was == 0 || is_over) && atomic::exchange(&mut place.mark, was, mark) == was {
            place.at = at;
            if is_over {
                count(sums, Outcome::Unanswered);
            }
            return;
        }
    }
}

#[inline(always)]
fn answered(places: &mut [Asked], mark: u64, outcome: Outcome, sums: &mut Questions) {
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
                return count(sums, Outcome::Unanswered);
            }
            count(sums, outcome);
            // SAFETY: a field of a map value.
            unsafe { maps::measure(&raw mut sums.answers, took) };
        }
        return;
    }
}

#[inline(always)]
fn count(sums: &mut Questions, outcome: Outcome) {
    // LLVM knows that it is in bounds, and the verifier does not.
    let index = black_box(outcome as usize);
    if index < Outcome::COUNT {
        // SAFETY: an element of the array.
        atomic::add(unsafe { (&raw mut sums.outcomes).cast::<u64>().add(index) }, 1);
    }
}

/// What a question sent to the agent or an answer received from it begins with, and their mark. None: another packet.
#[inline(always)]
fn message(packet: Transport, sends: bool) -> Option<(Head, u64)> {
    const UDP_HEADER: usize = 8;
    const HEAD: usize = 4;
    let Transport { begin: udp, end, is_v4, .. } = packet;
    if udp + UDP_HEADER + HEAD > end {
        return None;
    }
    // SAFETY: within the packet, as was compared.
    let [a, b, c, d] = unsafe { (udp as *const [u8; 4]).read() };
    let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let (agent, client) = if sends { (destination, source) } else { (source, destination) };
    if agent != AGENT {
        return None;
    }
    // SAFETY: as above.
    let head = Head::of(unsafe { ((udp + UDP_HEADER) as *const [u8; HEAD]).read() });
    (head.is_answer != sends).then(|| (head, head.mark(client, is_v4)))
}
