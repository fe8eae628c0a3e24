//! How a socket's process reads. splice(2) does not see redirected bytes, FIONREAD on some kernels not all (docs/kernel.md:
//! "A socket in the map"), and no hook tells of them in time: a process is trusted if it is the sidecar, or if userspace
//! has looked at its program and found neither.
#![allow(unsafe_code, reason = "helpers return raw pointers")]

use aya_ebpf::{bindings::bpf_sock, helpers::bpf_get_current_task};
use proxy_common::{
    accel::{Executable, Mark, changed_at, end_flag},
    policy::Table as _,
    tproxy::is_sidecar,
};

use super::{maps, peer, record};
use crate::{owner, rodata, workload::Workload};

/// Marks a socket that starts to listen or to connect. Only where the caller is the socket's own process.
#[inline(always)]
pub(super) fn mark(me: &Workload, sk: *mut bpf_sock) {
    let Some(number) = peer::number(sk) else { return };
    let Some(cookie) = peer::cookie(number) else { return };
    let is_sidecar = is_sidecar_socket(me, sk);
    let Some(mark) = record::mark_or_new(sk) else { return };
    let (flags, program) = if is_sidecar {
        (end_flag::TRUSTED | end_flag::DRAINS, Executable::NONE)
    } else {
        (0, program().unwrap_or(Executable::NONE))
    };
    *mark = Mark { flags, reserved: 0, sk: number, cookie, program };
    if !judge(mark) {
        maps::ask(me, &mark.program);
    }
}

/// What userspace has found of its program by now. False: nobody has looked at it.
#[inline(always)]
pub(super) fn judge(mark: &mut Mark) -> bool {
    if mark.program.ino == 0 {
        return true;
    }
    let Some(flags) = maps::reader_flags(&mark.program) else { return false };
    let is_guarded = flags & end_flag::GUARDED != 0 && rodata::guards();
    mark.flags = mark.flags & !OF_PROGRAM | flags | if is_guarded { end_flag::TRUSTED } else { 0 };
    true
}

/// Bits that say how a program reads. That its listener did not block is the listener's.
const OF_PROGRAM: u32 =
    end_flag::TRUSTED | end_flag::DRAINS | end_flag::GUARDED | end_flag::SENDS | end_flag::NONBLOCKING;

/// Whether what a marked listener accepts belongs to an event loop. Asked of the listener itself at that time: some
/// make it non-blocking only after listen(2).
#[inline(always)]
pub(super) fn is_event_loop(mark: &Mark) -> bool {
    if mark.flags & end_flag::EVENT_LOOP != 0 {
        return true;
    }
    mark.sk != 0
        && peer::cookie(mark.sk) == Some(mark.cookie)
        && peer::file(mark.sk).is_some_and(peer::is_nonblocking)
}

#[inline(always)]
fn is_sidecar_socket(me: &Workload, sk: *mut bpf_sock) -> bool {
    let policy = me.policy();
    // Not `owner::of`: before 6.18 its last resort, the caller's ids, is no helper of sock_ops.
    owner::recorded(sk).is_some_and(|owner| is_sidecar(me, &policy, owner.uid, owner.gid))
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
    let seconds: u64 = peer::read(inode, at.inode_changed_sec)?;
    let nanoseconds: u32 = peer::read(inode, at.inode_changed_nsec)?;
    Some(Executable {
        ino: peer::read(inode, at.inode_ino)?,
        dev: peer::read(sb, at.sb_dev)?,
        reserved: 0,
        changed: changed_at(seconds, nanoseconds),
    })
}
