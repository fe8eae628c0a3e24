//! Reads of kernel memory by a helper that cannot fault: a pointer that went stale reads as nothing, or as what is there
//! now. Where fields are is in `rodata`.
#![allow(unsafe_code, reason = "reads kernel memory through the helper that cannot fault")]

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, generated::bpf_probe_read_kernel as bpf_probe_read_kernel_raw,
};

/// A field of a structure. None: there is nothing to read.
#[inline(always)]
pub(crate) fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(u64::from(offset)) as *const T) }.ok()
}

/// A pointer in a structure. None: there is nothing to read, or it is null.
#[inline(always)]
pub(crate) fn pointer(base: u64, offset: u32) -> Option<u64> {
    read::<u64>(base, offset).filter(|pointer| *pointer != 0)
}

/// A pointer as a number. The verifier allows no arithmetic on a pointer to a socket or a map's value; read back from the
/// stack through the helper it is a number.
#[inline(always)]
pub(crate) fn address<T>(pointer: *const T) -> Option<u64> {
    read((&raw const pointer) as u64, 0)
}

/// Copies a value. False: there is nothing to read.
#[inline(always)]
pub(crate) fn copy<T>(from: u64, to: &mut T) -> bool {
    let to: *mut T = to;
    // SAFETY: the helper checks the source itself; the target is as large as it is told.
    unsafe { bpf_probe_read_kernel_raw(to.cast(), size_of::<T>() as u32, from as *const c_void) == 0 }
}
