//! The layout of the maps: builds that differ in it do not share them.

use std::sync::atomic::{AtomicU32, Ordering};

/// It is raised when a map's key, value or meaning changes.
pub const LAYOUT: u32 = 15;

static PRETENDED: AtomicU32 = AtomicU32::new(0);

/// From now on this process behaves as a build of another layout; 0: of its own. For tests.
#[doc(hidden)]
pub fn pretend_layout(layout: u32) {
    PRETENDED.store(layout, Ordering::Relaxed);
}

/// The layout of this build.
pub(super) fn layout() -> u32 {
    match PRETENDED.load(Ordering::Relaxed) {
        0 => LAYOUT,
        other => other,
    }
}
