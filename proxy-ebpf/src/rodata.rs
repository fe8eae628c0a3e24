//! Read-only data the loader fills in. The verifier knows its values, and drops what is switched off.
#![allow(unsafe_code, reason = "the loader replaces these globals; only a volatile read sees that")]

use proxy_common::{
    kernel::{AccelKernel, FlowKernel, Kernel},
    policy::flag,
    workload::feature,
};

// SAFETY: a name the loader looks up; it clashes with nothing in this object.
#[unsafe(no_mangle)]
static FEATURES: u32 = 0;

/// For every program.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) static KERNEL: Kernel = Kernel::UNKNOWN;

/// For the acceleration; all 0 where it is not to be had.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) static ACCEL: AccelKernel = AccelKernel::UNKNOWN;

/// For the flow records; all 0 where they are not to be had.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub(crate) static FLOW: FlowKernel = FlowKernel::OFF;

/// One word of a global, volatile because the loader writes it before the kernel sees it.
#[inline(always)]
pub(crate) fn word(global: &'static u32) -> u32 {
    // SAFETY: an initialised static.
    unsafe { core::ptr::from_ref(global).read_volatile() }
}

/// Bits of [`feature`] these programs were loaded with.
#[inline(always)]
pub(crate) fn features() -> u32 {
    word(&FEATURES)
}

/// Connections are recorded.
#[inline(always)]
pub(crate) fn observes() -> bool {
    features() & feature::OBSERVE != 0
}

/// Their turnarounds are measured.
#[inline(always)]
pub(crate) fn times() -> bool {
    features() & feature::TIME != 0
}

/// Questions for names go to the agent.
#[inline(always)]
pub(crate) fn captures_dns() -> bool {
    features() & flag::DNS != 0
}

/// Sockets may enter the acceleration's map.
#[inline(always)]
pub(crate) fn accelerates() -> bool {
    features() & feature::ACCELERATE != 0
}

/// splice(2) from sockets that are redirected to is refused.
#[inline(always)]
pub(crate) fn guards() -> bool {
    features() & feature::GUARD != 0
}

/// A field of one of the three tables: an offset in a kernel structure, or whether the kernel has something.
macro_rules! known {
    ($table:ident . $field:ident) => {
        crate::rodata::word(&crate::rodata::$table.$field)
    };
}

pub(crate) use known;
