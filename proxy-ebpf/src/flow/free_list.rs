//! The free entries of the map of open ends, as a list: the entry that was freed last is taken first, so that connections
//! that come and go use the same few. Entries are taken and given back without a lock; a program that finds the list
//! changed by another tries again.

use proxy_common::flow::{FreeList, LIVE, LiveEnd};

use super::maps;
use crate::{atomic, workload};

/// A bound for the verifier. After so many tries a program takes an entry that was never used, or leaves one unlisted.
const TRIES: u32 = 16;

/// Takes a free entry; its index. None: there is none.
#[inline(always)]
pub(super) fn take() -> Option<u32> {
    let list = maps::free_list()?;
    for _ in 0..TRIES {
        let free = volatile(&list.free);
        let first = free as u32;
        if first == 0 {
            break;
        }
        let next = volatile(&maps::live(first - 1)?.next);
        if atomic::exchange(&mut list.free, free, FreeList::changed(free, next)) == free {
            return Some(first - 1);
        }
    }
    let fresh = atomic::fetch_add(&mut list.used, 1);
    (fresh < u64::from(LIVE)).then_some(fresh as u32)
}

/// Gives the entry of the end with this cookie back. Of several programs that do, the first does it.
#[inline(always)]
pub(super) fn give_back(index: u32, end: &mut LiveEnd, cookie: u64) {
    let Some(list) = maps::free_list() else { return };
    let tenancy = end.tenancy;
    if cookie == 0 || atomic::exchange(&mut end.cookie, cookie, 0) != cookie {
        return;
    }
    if let Some(share) = workload::share_of(tenancy) {
        atomic::add(&mut share.live, u64::MAX);
    }
    for _ in 0..TRIES {
        let free = volatile(&list.free);
        end.next = free & (FreeList::CHANGE - 1);
        if atomic::exchange(&mut list.free, free, FreeList::changed(free, u64::from(index) + 1)) == free {
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
