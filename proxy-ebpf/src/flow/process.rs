//! The process that makes the current call.
#![allow(unsafe_code, reason = "helpers")]

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task};
use proxy_common::flow::FlowRecord;

use super::socket::{field, task_offsets};

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
