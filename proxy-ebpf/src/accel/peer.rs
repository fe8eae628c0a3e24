//! What can be read of a socket from outside: fields at offsets the loader took from the kernel's BTF, through the
//! helper that cannot fault. A socket that is gone reads as another cookie.
#![allow(unsafe_code, reason = "reads kernel memory through the helper that cannot fault")]

use aya_ebpf::{bindings::bpf_sock, helpers::bpf_probe_read_kernel};
use proxy_common::accel::AccelKernel;

pub(super) const O_NONBLOCK: u32 = 0o4000;
const EPOLLET: u32 = 1 << 31;

// SAFETY: a name the loader looks up; it clashes with nothing in this object.
#[unsafe(no_mangle)]
static ACCEL: AccelKernel = AccelKernel::UNKNOWN;

macro_rules! offset {
    ($field:ident) => {
        // SAFETY: an initialised static; volatile because the loader writes it before the kernel sees it.
        unsafe { core::ptr::read_volatile(&raw const ACCEL.$field) }
    };
}

/// The socket as a number: the verifier allows no arithmetic on the pointer.
#[inline(always)]
pub(super) fn number(sk: *mut bpf_sock) -> Option<u64> {
    read((&raw const sk) as u64, 0)
}

#[inline(always)]
pub(super) fn cookie(sk: u64) -> Option<u64> {
    read(sk, offset!(sk_cookie))
}

/// The next byte the application will read from the TCP queue.
#[inline(always)]
pub(super) fn copied_seq(sk: u64) -> Option<u32> {
    read(sk, offset!(tcp_copied_seq))
}

/// The sequence number of the next byte given to TCP.
#[inline(always)]
pub(super) fn write_seq(sk: u64) -> Option<u32> {
    read(sk, offset!(tcp_write_seq))
}

/// Whether the loader knows how to look at receivers, and may.
#[inline(always)]
pub(super) fn is_known() -> bool {
    offset!(sk_cookie) != 0
}

/// Bytes in the receive queues. When TCP's is read, those redirected (`net/ipv4/tcp_bpf.c: bpf_tcp_ingress` charges
/// them, `net/core/skmsg.c: sk_msg_recvmsg` gives them back).
#[inline(always)]
pub(super) fn queued(sk: u64) -> Option<u32> {
    read(sk, offset!(sk_rmem_alloc))
}

#[inline(always)]
pub(super) fn is_mptcp(sk: u64) -> bool {
    let at = offset!(tcp_is_mptcp);
    at != 0 && read::<u8>(sk, at).is_some_and(|is| is != 0)
}

/// Whether its process makes up its sequence numbers (TCP_REPAIR).
#[inline(always)]
pub(super) fn is_made_up(sk: u64) -> bool {
    let mask = offset!(tcp_repair_mask);
    mask != 0 && read::<u8>(sk, offset!(tcp_repair)).is_none_or(|byte| u32::from(byte) & mask != 0)
}

/// The open file of a socket; none before accept and after close.
#[inline(always)]
pub(super) fn file(sk: u64) -> Option<u64> {
    let socket: u64 = read(sk, offset!(sk_socket))?;
    if socket == 0 {
        return None;
    }
    let file: u64 = read(socket, offset!(socket_file))?;
    (file != 0).then_some(file)
}

#[inline(always)]
pub(super) fn is_nonblocking(file: u64) -> bool {
    read::<u32>(file, offset!(file_flags)).is_some_and(|flags| flags & O_NONBLOCK != 0)
}

/// How a file is waited for, as the first epoll set that has it does.
#[inline(always)]
pub(super) fn waits(file: u64) -> Waits {
    let at = offset!(file_ep);
    if at == 0 {
        return Waits::Edge;
    }
    let Some(head) = read::<u64>(file, at).filter(|head| *head != 0) else { return Waits::Otherwise };
    let Some(link) = read::<u64>(head, 0).filter(|link| *link != 0) else { return Waits::Otherwise };
    let item = link.wrapping_sub(u64::from(offset!(epitem_link)));
    match read::<u32>(item, offset!(epitem_event)) {
        Some(events) if events & EPOLLET == 0 => Waits::Level,
        Some(_) => Waits::Edge,
        None => Waits::Otherwise,
    }
}

/// How a process waits for its socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// In no epoll set: not yet, or with poll, select or io_uring.
    Otherwise,
    Level,
    Edge,
}

/// Offsets on the way to the calling process's program.
pub(super) struct ProgramOffsets {
    pub(super) task_mm: u32,
    pub(super) mm_exe_file: u32,
    pub(super) file_inode: u32,
    pub(super) inode_ino: u32,
    pub(super) inode_sb: u32,
    pub(super) inode_changed_sec: u32,
    pub(super) inode_changed_nsec: u32,
    pub(super) sb_dev: u32,
}

#[inline(always)]
pub(super) fn program_offsets() -> Option<ProgramOffsets> {
    let task_mm = offset!(task_mm);
    (task_mm != 0).then(|| ProgramOffsets {
        task_mm,
        mm_exe_file: offset!(mm_exe_file),
        file_inode: offset!(file_inode),
        inode_ino: offset!(inode_ino),
        inode_sb: offset!(inode_sb),
        inode_changed_sec: offset!(inode_changed_sec),
        inode_changed_nsec: offset!(inode_changed_nsec),
        sb_dev: offset!(sb_dev),
    })
}

/// Offsets on the way to a receiver's memory limits.
pub(super) struct MemoryOffsets {
    pub(super) sk_prot: u32,
    pub(super) proto_memory_allocated: u32,
    pub(super) proto_sysctl_mem: u32,
    pub(super) sk_memcg: u32,
    pub(super) memcg_memory: u32,
    pub(super) counter_usage: u32,
    pub(super) counter_max: u32,
    pub(super) counter_parent: u32,
}

#[inline(always)]
pub(super) fn memory_offsets() -> MemoryOffsets {
    MemoryOffsets {
        sk_prot: offset!(sk_prot),
        proto_memory_allocated: offset!(proto_memory_allocated),
        proto_sysctl_mem: offset!(proto_sysctl_mem),
        sk_memcg: offset!(sk_memcg),
        memcg_memory: offset!(memcg_memory),
        counter_usage: offset!(counter_usage),
        counter_max: offset!(counter_max),
        counter_parent: offset!(counter_parent),
    }
}

#[inline(always)]
pub(super) fn read<T>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}
