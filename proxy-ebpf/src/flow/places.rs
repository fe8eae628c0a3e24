//! Places for open ends: a list of free ones, the last freed first, so that what comes and goes uses the same few. Taken
//! and given back without a lock; whoever finds that another was faster tries again.

use proxy_common::flow::{LIVE, LiveEnd, LivePlaces};

use super::maps;
use crate::{atomic, workload};

/// A bound for the verifier. Who is unlucky that often takes a place that was never used.
const TRIES: u32 = 16;

/// A free place, from 0. None: there is none.
#[inline(always)]
pub(super) fn take() -> Option<u32> {
    let places = maps::live_places()?;
    for _ in 0..TRIES {
        let free = volatile(&places.free);
        let first = free as u32;
        if first == 0 {
            break;
        }
        let next = volatile(&maps::live(first - 1)?.next);
        if atomic::exchange(&mut places.free, free, LivePlaces::changed(free, next)) == free {
            return Some(first - 1);
        }
    }
    let fresh = atomic::fetch_add(&mut places.used, 1);
    (fresh < u64::from(LIVE)).then_some(fresh as u32)
}

/// Gives the place of the end with this cookie back; once, whoever comes first.
#[inline(always)]
pub(super) fn give_back(place: u32, end: &mut LiveEnd, cookie: u64) {
    let Some(places) = maps::live_places() else { return };
    let tenancy = end.tenancy;
    if cookie == 0 || atomic::exchange(&mut end.cookie, cookie, 0) != cookie {
        return;
    }
    if let Some(share) = workload::share_of(tenancy) {
        atomic::add(&mut share.live, u64::MAX);
    }
    for _ in 0..TRIES {
        let free = volatile(&places.free);
        end.next = free & (LivePlaces::CHANGE - 1);
        if atomic::exchange(&mut places.free, free, LivePlaces::changed(free, u64::from(place) + 1)) == free {
            return;
        }
    }
}

#[inline(always)]
#[allow(unsafe_code, reason = "others write the word at the same time")]
fn volatile(word: &u64) -> u64 {
    // SAFETY: a reference.
    unsafe { core::ptr::from_ref(word).read_volatile() }
}
