//! What the loader tells the programs about the running kernel.

/// Offsets in kernel structures the acceleration reads; 0: unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct AccelKernel {
    pub sk_cookie: u32,
    pub sk_rmem_alloc: u32,
    pub sk_socket: u32,
    pub socket_file: u32,
    pub file_flags: u32,
    /// `file->f_ep->first`, a link of an `epitem`, and from there to its events: how the socket is waited for. f_ep 0:
    /// not known.
    pub file_ep: u32,
    pub epitem_link: u32,
    pub epitem_event: u32,
    pub tcp_copied_seq: u32,
    pub tcp_write_seq: u32,
    pub tcp_is_mptcp: u32,
    /// `tcp_sock.repair`: a byte, and the bit in it; mask 0: not known.
    pub tcp_repair: u32,
    pub tcp_repair_mask: u32,
    /// `current->mm->exe_file->f_inode->{i_ino, i_sb->s_dev, i_ctime}`: which program runs; all or none.
    pub task_mm: u32,
    pub mm_exe_file: u32,
    pub file_inode: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub inode_changed_sec: u32,
    pub inode_changed_nsec: u32,
    pub sb_dev: u32,
    /// `sk->sk_prot->{memory_allocated, sysctl_mem}`.
    pub sk_prot: u32,
    pub proto_memory_allocated: u32,
    pub proto_sysctl_mem: u32,
    /// `sk->sk_memcg->memory` and in it `usage`, `max`, `parent`; sk_memcg 0: this kernel has no memory cgroups.
    pub sk_memcg: u32,
    pub memcg_memory: u32,
    pub counter_usage: u32,
    pub counter_max: u32,
    pub counter_parent: u32,
    pub reserved: u32,
}

impl AccelKernel {
    pub const UNKNOWN: Self = Self {
        sk_cookie: 0,
        sk_rmem_alloc: 0,
        sk_socket: 0,
        socket_file: 0,
        file_flags: 0,
        file_ep: 0,
        epitem_link: 0,
        epitem_event: 0,
        tcp_copied_seq: 0,
        tcp_write_seq: 0,
        tcp_is_mptcp: 0,
        tcp_repair: 0,
        tcp_repair_mask: 0,
        task_mm: 0,
        mm_exe_file: 0,
        file_inode: 0,
        inode_ino: 0,
        inode_sb: 0,
        inode_changed_sec: 0,
        inode_changed_nsec: 0,
        sb_dev: 0,
        sk_prot: 0,
        proto_memory_allocated: 0,
        proto_sysctl_mem: 0,
        sk_memcg: 0,
        memcg_memory: 0,
        counter_usage: 0,
        counter_max: 0,
        counter_parent: 0,
        reserved: 0,
    };
}

const _: () = assert!(size_of::<AccelKernel>() == 120);
