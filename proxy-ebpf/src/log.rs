//! What goes wrong in the programs, for people to read: a counter says how often, a line says it when it begins.
//!
//! Only failures that refuse or lose something are said, the first of them and then each power of two, on each CPU: a
//! storm fills neither the ring nor a log. Where nobody reads, the ring fills once and takes no more.

use aya_log_ebpf::{error, warn};
use proxy_common::counter::Event;

/// Says that a workload's failure has happened so many times, where it is news.
#[inline(always)]
pub(crate) fn failed(event: Event, times: u64, netns: u64) {
    if times & times.wrapping_sub(1) == 0 {
        say(event as u32, times, netns);
    }
}

/// A function of its own: its stack is not the caller's, and each program holds one copy.
#[inline(never)]
fn say(event: u32, times: u64, netns: u64) {
    const NO_LISTENER: u32 = Event::NoListener as u32;
    const OUTBOUND_REFUSED: u32 = Event::OutboundRefused as u32;
    const STORAGE_FULL: u32 = Event::StorageFull as u32;
    const PENDING_FULL: u32 = Event::PendingFull as u32;
    const LISTENER_FULL: u32 = Event::ListenerFull as u32;
    const LISTENER_MPTCP: u32 = Event::ListenerMptcp as u32;
    match event {
        NO_LISTENER => {
            warn!(
                (),
                "no_listener: no sidecar listens, refused; netns cookie {}, {} on this CPU", netns, times
            );
        }
        OUTBOUND_REFUSED => {
            warn!(
                (),
                "outbound_refused: no sidecar listens, refused; netns cookie {}, {} on this CPU",
                netns,
                times
            );
        }
        STORAGE_FULL => {
            error!((), "storage_full: no memory, refused; netns cookie {}, {} on this CPU", netns, times);
        }
        PENDING_FULL => {
            error!(
                (),
                "pending_full: original destination lost; netns cookie {}, {} on this CPU", netns, times
            );
        }
        LISTENER_FULL => {
            warn!(
                (),
                "listener_full: sidecar listener not used; netns cookie {}, {} on this CPU", netns, times
            );
        }
        LISTENER_MPTCP => {
            warn!(
                (),
                "listener_mptcp: sidecar listener not used; netns cookie {}, {} on this CPU", netns, times
            );
        }
        _ => {}
    }
}
