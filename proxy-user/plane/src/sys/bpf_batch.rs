//! Many elements of a map in one call.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::bpf::bpf;

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// Of the kernel's own, not for userspace: `kernel/bpf/syscall.c: BPF_DO_BATCH`.
const ENOTSUPP: libc::c_int = 524;

#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// What a call has copied.
pub(super) struct Copied {
    pub(super) elements: usize,
    /// The map's last ones are among them.
    pub(super) is_all: bool,
}

/// Copies up to `most` elements to `keys` and `values`, which have room for them. `position`: where the call before has
/// ended, and this one does; `begun`: there was one. It is as long as a key, and four bytes at least.
pub(super) fn lookup(
    map: BorrowedFd<'_>,
    position: &mut [u8],
    begun: bool,
    keys: &mut [u8],
    values: &mut [u8],
    most: u32,
) -> io::Result<Copied> {
    let mut attr = BatchAttr {
        in_batch: if begun { position.as_ptr() as u64 } else { 0 },
        out_batch: position.as_mut_ptr() as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: most,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    let is_all = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => false,
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
        Err(error) => return Err(error),
    };
    Ok(Copied { elements: attr.count as usize, is_all })
}

/// Whether the map's type has no batches, or the kernel has none (before 5.6).
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}
