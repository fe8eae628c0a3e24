//! The clock of records and samples.
#![allow(unsafe_code, reason = "a helper")]

use aya_ebpf::helpers::bpf_ktime_get_ns;

/// Nanoseconds since the machine started, without the time it was suspended.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
