//! lsm_cgroup on `file_permission`: splice(2) from a socket that is redirected to fails with EINVAL, which is what a socket
//! that cannot splice answers. Who splices then reads, and read(2) sees all bytes.
//!
//! It runs with each read and write of the workload's processes, and with nobody else's: two loads for what is no socket.
//! What io_uring splices is not seen, the call is `io_uring_enter` then or nobody's; nor are calls of 32-bit programs,
//! which have other numbers. Userspace trusts neither.
#![allow(unsafe_code, reason = "the entry point is exported by name; the context is raw pointers")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{
        bpf_get_current_task_btf, bpf_get_retval, bpf_set_retval, bpf_sock_from_file, bpf_task_pt_regs,
    },
    macros::lsm_cgroup,
    programs::LsmContext,
};
use proxy_common::accel::{direction_bit, end_flag, switch_flag};

use super::{maps, record};
use crate::{
    rodata::known,
    uapi::cgroup::{ALLOW, REFUSE},
};

const MAY_READ: u32 = 4;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const EINVAL: i32 = 22;

#[lsm_cgroup(hook = "file_permission")]
pub(crate) fn splice_guard(ctx: LsmContext) -> i32 {
    let file: *const c_void = ctx.arg(0);
    let mask: u32 = ctx.arg(1);
    if mask & MAY_READ == 0 || !is_spliced(file) || !is_redirected_to(file) {
        return ALLOW;
    }
    // SAFETY: no arguments.
    if unsafe { bpf_get_retval() } == 0 {
        // SAFETY: a number.
        let _ = unsafe { bpf_set_retval(-EINVAL) };
    }
    REFUSE
}

/// Whether it is a socket, and the call splice(2).
#[inline(always)]
fn is_spliced(file: *const c_void) -> bool {
    let inode: *const c_void = field(file, known!(ACCEL.file_inode));
    let mode: u16 = field(inode, known!(ACCEL.inode_mode));
    if mode & S_IFMT != S_IFSOCK {
        return false;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task_btf() };
    // SAFETY: the task that runs.
    let registers = unsafe { bpf_task_pt_regs(task) } as *const c_void;
    let call: u32 = field(registers, known!(ACCEL.registers_call));
    call == known!(ACCEL.call_splice)
}

/// Whether it is in the map, and trusted to read what it is sent.
#[inline(always)]
fn is_redirected_to(file: *const c_void) -> bool {
    // SAFETY: the hook's own file.
    let socket: *const c_void = unsafe { bpf_sock_from_file(file.cast_mut().cast()) }.cast();
    if socket.is_null() {
        return false;
    }
    let sk: *mut bpf_sock = field(socket, known!(ACCEL.socket_sk));
    if sk.is_null() {
        return false;
    }
    let Some(record) = record::get(sk) else { return false };
    if record.direction.bits & direction_bit::COUNTED == 0 {
        return false;
    }
    if record::mark_of(sk).is_some_and(|mark| mark.flags & end_flag::TRUSTED != 0) {
        return true;
    }
    maps::switch(record.slot).is_some_and(|switch| switch.flags & switch_flag::ANY_READER != 0)
}

/// A field of a structure whose type the verifier knows: a load that cannot fault, without a helper.
#[inline(always)]
fn field<T>(base: *const c_void, offset: u32) -> T {
    // SAFETY: the verifier checks base, offset and size; volatile, so that it is one load of that size.
    unsafe { base.byte_add(offset as usize).cast::<T>().read_volatile() }
}
