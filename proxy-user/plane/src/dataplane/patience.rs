//! Maps that take their memory as they need it say ENOMEM where the kernel has not stocked up yet
//! (`kernel/bpf/memalloc.c: unit_alloc`): on a busy machine, for a moment.

use std::{io, thread, time::Duration};

const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(2);

/// Tries again while the kernel says so.
pub(super) fn patiently<T>(mut store: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match store() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(PAUSE),
            other => return other,
        }
    }
    store()
}
