//! The process that makes the current call.
#![allow(unsafe_code, reason = "helpers")]

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task},
};
use proxy_common::flow::FlowRecord;

use super::socket::{address, field, task_offsets};
use crate::{kernel_memory, rodata::known};

/// For a sock_addr hook, and only where the caller is the socket's own process.
#[inline(always)]
pub(super) fn calling(record: &mut FlowRecord) {
    if !of_task(record) {
        record.pid = (bpf_get_current_pid_tgid() >> 32) as u32;
        record.comm = bpf_get_current_comm().unwrap_or_default();
    }
}

/// Also in sock_ops, which has no helpers for it, where programs may ask for the task. Named after the leading thread:
/// Envoy's workers have names of their own.
#[inline(always)]
pub(super) fn of_task(record: &mut FlowRecord) -> bool {
    let Some(at) = task_offsets() else { return false };
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    record.pid = field(task, at.tgid);
    record.comm = field(field(task, at.leader), at.comm);
    true
}

/// Whether the call is accept, for a socket that it gives a process: its file is in no table of files yet.
#[inline(always)]
pub(super) fn is_accepting(sk: *mut bpf_sock) -> bool {
    if task_offsets().is_none() {
        return false;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = field(task, known!(FLOW.task_files));
    if field::<u32>(files, known!(FLOW.files_count)) == 1 {
        return is_opening_a_file(files);
    }
    // Where threads share the table, each call takes a reference (`fs/file.c: __fget_light`). Accept has the only one.
    let socket: u64 = field(address(sk), known!(KERNEL.sk_socket));
    let file: u64 = field(socket, known!(KERNEL.socket_file));
    let has_ref = known!(FLOW.file_ref) != 0;
    let (at, one) = if has_ref { (known!(FLOW.file_ref), 0) } else { (known!(FLOW.file_count), 1) };
    file != 0 && kernel_memory::read::<u64>(file, at) == Some(one)
}

/// Whether the last descriptor taken has no file yet. The kernel looks for the next one behind it (`fs/file.c: alloc_fd`).
#[inline(always)]
fn is_opening_a_file(files: u64) -> bool {
    let next: u32 = field(files, known!(FLOW.files_next_fd));
    let table: u64 = field(files, known!(FLOW.files_fdt));
    let descriptors: u64 = field(table, known!(FLOW.fdt_fd));
    descriptors != 0
        && next != 0
        && kernel_memory::read::<u64>(descriptors, next.wrapping_sub(1).wrapping_mul(8)) == Some(0)
}

/// Whether the calling process is ending by a signal.
#[inline(always)]
pub(super) fn is_killed() -> bool {
    /// `include/linux/sched.h`.
    const PF_EXITING: u32 = 0x4;
    const SIGNAL: u32 = 0x7f;
    if task_offsets().is_none() {
        return false;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    field::<u32>(task, known!(FLOW.task_flags)) & PF_EXITING != 0
        && field::<u32>(task, known!(FLOW.task_exit_code)) & SIGNAL != 0
}
