//! Many elements of a map in one call.

use std::io;

pub(super) const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
/// Of the kernel's own, not for userspace: `kernel/bpf/syscall.c: BPF_DO_BATCH`.
const ENOTSUPP: libc::c_int = 524;

#[repr(C)]
pub(super) struct BatchAttr {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

/// Whether the map's type has no batches, or the kernel has none (before 5.6).
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
}
