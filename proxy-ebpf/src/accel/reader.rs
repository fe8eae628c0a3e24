//! How a socket's process reads. splice(2) does not see redirected bytes (kernel.md 2.4), and no hook tells of it in
//! time: a process is trusted if it is the sidecar, or if userspace has looked at its program and found no splice.
#![allow(unsafe_code, reason = "helpers return raw pointers")]

use aya_ebpf::{bindings::bpf_sock, helpers::bpf_get_current_task};
use proxy_common::accel::{Executable, end_flag};

use super::{maps, peer};
use crate::{owner, table};

/// [`end_flag`] bits of the calling process. Only where the caller is the socket's own process.
#[inline(always)]
pub(super) fn flags_of_caller(sk: *mut bpf_sock) -> u32 {
    let policy = table::policy();
    let owner = owner::of(sk);
    if owner.uid == policy.first_uid || owner.gid == policy.first_gid {
        return end_flag::NO_SPLICE;
    }
    match program() {
        Some(program) if maps::is_known_reader(&program) => end_flag::NO_SPLICE,
        _ => 0,
    }
}

/// The program the calling process runs.
#[inline(always)]
fn program() -> Option<Executable> {
    let at = peer::program_offsets()?;
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm: u64 = peer::read(task, at.task_mm)?;
    let file: u64 = peer::read(mm, at.mm_exe_file)?;
    let inode: u64 = peer::read(file, at.file_inode)?;
    let sb: u64 = peer::read(inode, at.inode_sb)?;
    Some(Executable { ino: peer::read(inode, at.inode_ino)?, dev: peer::read(sb, at.sb_dev)?, reserved: 0 })
}
