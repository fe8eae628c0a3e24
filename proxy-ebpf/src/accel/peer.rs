//! What can be read of a socket from outside: fields at offsets the loader took from the kernel's BTF, through the
//! helper that cannot fault. A socket that is gone reads as another cookie.

use aya_ebpf::bindings::bpf_sock;

pub(super) use crate::kernel_memory::read;
use crate::{
    kernel_memory::{address, pointer},
    rodata::known,
};

const O_NONBLOCK: u32 = 0o4000;
const EPOLLET: u32 = 1 << 31;

/// The socket as a number.
#[inline(always)]
pub(super) fn number(sk: *mut bpf_sock) -> Option<u64> {
    address(sk)
}

#[inline(always)]
pub(super) fn cookie(sk: u64) -> Option<u64> {
    read(sk, known!(ACCEL.sk_cookie))
}

/// The next byte the application will read from the TCP queue.
#[inline(always)]
pub(super) fn copied_seq(sk: u64) -> Option<u32> {
    read(sk, known!(ACCEL.tcp_copied_seq))
}

/// The sequence number of the next byte given to TCP.
#[inline(always)]
pub(super) fn write_seq(sk: u64) -> Option<u32> {
    read(sk, known!(ACCEL.tcp_write_seq))
}

/// Whether the loader knows how to look at receivers, and may.
#[inline(always)]
pub(super) fn is_known() -> bool {
    known!(ACCEL.sk_cookie) != 0
}

/// Bytes in the receive queues. When TCP's is read, those redirected (`net/ipv4/tcp_bpf.c: bpf_tcp_ingress` charges
/// them, `net/core/skmsg.c: sk_msg_recvmsg` gives them back).
#[inline(always)]
pub(super) fn queued(sk: u64) -> Option<u32> {
    read(sk, known!(ACCEL.sk_rmem_alloc))
}

#[inline(always)]
pub(super) fn is_mptcp(sk: u64) -> bool {
    let at = known!(ACCEL.tcp_is_mptcp);
    at != 0 && read::<u8>(sk, at).is_some_and(|is| is != 0)
}

/// Whether its process makes up its sequence numbers (TCP_REPAIR).
#[inline(always)]
pub(super) fn is_made_up(sk: u64) -> bool {
    let mask = known!(ACCEL.tcp_repair_mask);
    mask != 0 && read::<u8>(sk, known!(ACCEL.tcp_repair)).is_none_or(|byte| u32::from(byte) & mask != 0)
}

/// The open file of a socket; none before accept and after close.
#[inline(always)]
pub(super) fn file(sk: u64) -> Option<u64> {
    pointer(pointer(sk, known!(ACCEL.sk_socket))?, known!(ACCEL.socket_file))
}

#[inline(always)]
pub(super) fn is_nonblocking(file: u64) -> bool {
    read::<u32>(file, known!(ACCEL.file_flags)).is_some_and(|flags| flags & O_NONBLOCK != 0)
}

/// How a file is waited for, as the first epoll set that has it does.
#[inline(always)]
pub(super) fn waits(file: u64) -> Waits {
    let at = known!(ACCEL.file_ep);
    if at == 0 {
        return Waits::Edge;
    }
    let Some(head) = pointer(file, at) else { return Waits::Otherwise };
    let Some(link) = pointer(head, 0) else { return Waits::Otherwise };
    let item = link.wrapping_sub(u64::from(known!(ACCEL.epitem_link)));
    match read::<u32>(item, known!(ACCEL.epitem_event)) {
        Some(events) if events & EPOLLET == 0 => Waits::Level,
        Some(_) => Waits::Edge,
        None => Waits::Otherwise,
    }
}

/// How a process waits for its socket.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The socket is in no epoll set: not yet, or its process waits with poll, select or io_uring.
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
    let task_mm = known!(ACCEL.task_mm);
    (task_mm != 0).then(|| ProgramOffsets {
        task_mm,
        mm_exe_file: known!(ACCEL.mm_exe_file),
        file_inode: known!(ACCEL.file_inode),
        inode_ino: known!(ACCEL.inode_ino),
        inode_sb: known!(ACCEL.inode_sb),
        inode_changed_sec: known!(ACCEL.inode_changed_sec),
        inode_changed_nsec: known!(ACCEL.inode_changed_nsec),
        sb_dev: known!(ACCEL.sb_dev),
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
        sk_prot: known!(ACCEL.sk_prot),
        proto_memory_allocated: known!(ACCEL.proto_memory_allocated),
        proto_sysctl_mem: known!(ACCEL.proto_sysctl_mem),
        sk_memcg: known!(ACCEL.sk_memcg),
        memcg_memory: known!(ACCEL.memcg_memory),
        counter_usage: known!(ACCEL.counter_usage),
        counter_max: known!(ACCEL.counter_max),
        counter_parent: known!(ACCEL.counter_parent),
    }
}
