//! What the loader finds out about the running kernel, and the programs have as read-only data: where fields are in its
//! structures, and what it has. One table for each part that can be had by itself.

/// Declares the tables. A field that is followed by members is the sum of their offsets: `needed` where the part is not to
/// be had without it, `optional` where it is then 0. The loader fills in the others.
macro_rules! tables {
    ($(
        $(#[$outer:meta])*
        $name:ident, $nothing:ident {
            $(
                $(#[$inner:meta])*
                $field:ident $(: $need:ident $($structure:ident . $member:ident)+)?;
            )*
        }
    )*) => {
        $(
            $(#[$outer])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            #[repr(C)]
            pub struct $name {
                $($(#[$inner])* pub $field: u32,)*
            }

            impl $name {
                /// Nothing is known.
                pub const $nothing: Self = Self { $($field: 0,)* };

                /// The offsets in the running kernel, each as `offset` tells it of a structure and its member.
                ///
                /// # Errors
                /// A needed member that the kernel has not, as `structure.member`.
                pub fn find(offset: impl Fn(&str, &str) -> Option<u32>) -> Result<Self, &'static str> {
                    #[allow(unused_mut, reason = "a table of what the loader fills in alone has none")]
                    let mut found = Self::$nothing;
                    $($(
                        let mut sum = Some(0u32);
                        $(
                            let part = offset(stringify!($structure), stringify!($member));
                            tables!(@check $need part $structure $member);
                            sum = sum.zip(part).map(|(sum, part)| sum + part);
                        )+
                        found.$field = sum.unwrap_or(0);
                    )?)*
                    Ok(found)
                }
            }
        )*
    };
    (@check needed $part:ident $structure:ident $member:ident) => {
        if $part.is_none() {
            return Err(concat!(stringify!($structure), ".", stringify!($member)));
        }
    };
    (@check optional $part:ident $structure:ident $member:ident) => {};
}

tables! {
    /// For every program; 0 where it is not known.
    Kernel, UNKNOWN {
        /// `sk->sk_socket->file->f_cred->fsuid`, as xt_owner reads it. sk_socket 0: owners are not known by it.
        sk_socket: optional sock.sk_socket;
        socket_file: optional socket.file;
        file_cred: optional file.f_cred;
        cred_fsuid: optional cred.fsuid;
        cred_fsgid: optional cred.fsgid;
        /// `inet_sk(sk)->inet_opt->opt.srr`, and `inet_sk(sk)->pinet6->opt->srcrt`: hosts that a socket has its packets go
        /// by. Without IPv6 the kernel has not the latter.
        inet_opt: optional inet_sock.inet_opt;
        options_srr: optional ip_options_rcu.opt ip_options.srr;
        inet_pinet6: optional inet_sock.pinet6;
        pinet6_opt: optional ipv6_pinfo.opt;
        txoptions_srcrt: optional ipv6_txoptions.srcrt;
        /// `sk->sk_dst_cache->dev->ifindex`, the interface a connection leaves by.
        sk_dst_cache: optional sock.sk_dst_cache;
        dst_dev: optional dst_entry.dev;
        dev_ifindex: optional net_device.ifindex;
        /// Why a connection ended.
        sk_err: optional sock.sk_err;
        /// `bpf_sk_lookup` has `ingress_ifindex` (>= 5.17).
        has_ingress_ifindex;
        /// `bpf_get_netns_cookie` works in sock_ops (>= 5.15).
        has_sock_ops_cookie;
    }

    /// For the acceleration; all 0 where it is not to be had.
    AccelKernel, UNKNOWN {
        /// sock_common stands at the head of sock.
        sk_cookie: needed sock_common.skc_cookie;
        sk_rmem_alloc: needed sock.sk_backlog;
        sk_socket: needed sock.sk_socket;
        socket_file: needed socket.file;
        file_flags: needed file.f_flags;
        /// `file->f_ep->first`, a link of an `epitem`, and from there to its events: how the socket is waited for. f_ep 0:
        /// every reader counts as edge-triggered.
        file_ep: optional file.f_ep;
        epitem_link: optional epitem.fllink;
        epitem_event: optional epitem.event;
        tcp_copied_seq: needed tcp_sock.copied_seq;
        tcp_write_seq: needed tcp_sock.write_seq;
        tcp_is_mptcp: optional tcp_sock.is_mptcp;
        /// `tcp_sock.repair`: a byte, and the bit in it. Mask 0: without checkpoint/restore nobody makes up a connection's
        /// numbers.
        tcp_repair;
        tcp_repair_mask;
        /// `current->mm->exe_file->f_inode->{i_ino, i_sb->s_dev, i_ctime}`: which program runs. task_mm 0: programs of
        /// sock_ops may not ask for the task, and only the sidecar is trusted by itself.
        task_mm: needed task_struct.mm;
        mm_exe_file: needed mm_struct.exe_file;
        file_inode: needed file.f_inode;
        inode_ino: needed inode.i_ino;
        inode_sb: needed inode.i_sb;
        inode_mode: needed inode.i_mode;
        inode_changed_sec;
        inode_changed_nsec;
        sb_dev: needed super_block.s_dev;
        /// `sk->sk_prot->{memory_allocated, sysctl_mem}`.
        sk_prot: needed sock_common.skc_prot;
        proto_memory_allocated: needed proto.memory_allocated;
        proto_sysctl_mem: needed proto.sysctl_mem;
        /// `sk->sk_memcg->memory` and in it `usage`, `max`, `parent`; sk_memcg 0: this kernel has no memory cgroups, and so
        /// no limit to hold.
        sk_memcg: optional sock.sk_memcg;
        memcg_memory: optional mem_cgroup.memory;
        counter_usage: optional page_counter.usage;
        counter_max: optional page_counter.max;
        counter_parent: optional page_counter.parent;
        socket_sk: needed socket.sk;
        /// Where the number of the call that a process is in stands among its registers, and that of splice(2). The first 0:
        /// not known.
        registers_call;
        call_splice;
    }

    /// For the flow records; all 0 where they are not to be had.
    FlowKernel, OFF {
        sk_cookie: needed sock_common.skc_cookie;
        sk_state: needed sock_common.skc_state;
        sk_flags: needed sock_common.skc_flags;
        sk_err: needed sock.sk_err;
        sk_socket: needed sock.sk_socket;
        sk_user_data: needed sock.sk_user_data;
        /// The interface a connection arrived by.
        sk_ifindex: optional sock.sk_rx_dst_ifindex;
        tcp_write_seq: needed tcp_sock.write_seq;
        tcp_copied_seq: needed tcp_sock.copied_seq;
        tcp_rcv_nxt: needed tcp_sock.rcv_nxt;
        tcp_snd_una: needed tcp_sock.snd_una;
        /// When TCP sent or received last, in microseconds of the monotonic clock; 0: not known.
        tcp_mstamp: optional tcp_sock.tcp_mstamp;
        tcp_bytes_acked: needed tcp_sock.bytes_acked;
        tcp_bytes_received: needed tcp_sock.bytes_received;
        tcp_srtt_us: needed tcp_sock.srtt_us;
        tcp_total_retrans: needed tcp_sock.total_retrans;
        tcp_is_mptcp: optional tcp_sock.is_mptcp;
        /// 0: programs of sock_ops may not ask for the task.
        task_tgid: needed task_struct.tgid;
        task_comm: needed task_struct.comm;
        /// The leading thread, whose name is the process's.
        task_leader: needed task_struct.group_leader;
        /// How a process ends.
        task_flags: needed task_struct.flags;
        task_exit_code: needed task_struct.exit_code;
        /// Its table of files, who shares that, and the descriptor taken last.
        task_files: needed task_struct.files;
        files_count: needed files_struct.count;
        files_next_fd: needed files_struct.next_fd;
        files_fdt: needed files_struct.fdt;
        fdt_fd: needed fdtable.fd;
        /// References to a file: one is 0 in the first (>= 6.13), 1 in the second, which may stand at offset 0.
        file_ref: optional file.f_ref;
        file_count: optional file.f_count;
        /// Redirected bytes that wait: `sk_user_data` -> `sk_psock.ingress_msg`, a list of `sk_msg`.
        psock_ingress: needed sk_psock.ingress_msg;
        msg_list: needed sk_msg.list;
        msg_size: needed sk_msg.sg sk_msg_sg.size;
        /// Their sum, where the kernel keeps it; 0: it does not.
        psock_total: optional sk_psock.msg_tot_len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_members_are_added_up_and_missing_ones_told() {
        let offset = |structure: &str, member: &str| match (structure, member) {
            ("sk_msg", "sg") => Some(16),
            ("sk_msg_sg", "size") => Some(12),
            ("sk_psock", "msg_tot_len") => None,
            _ => Some(4),
        };
        let found = FlowKernel::find(offset).unwrap();
        assert_eq!((found.msg_size, found.psock_total, found.sk_err), (28, 0, 4));
        let without = |structure: &str, member: &str| (member != "sg").then(|| offset(structure, member))?;
        assert_eq!(FlowKernel::find(without), Err("sk_msg.sg"));
    }

    #[test]
    fn what_is_optional_is_zero_where_any_part_is_missing() {
        let offset = |structure: &str, _: &str| (structure != "ip_options").then_some(8);
        let found = Kernel::find(offset).unwrap();
        assert_eq!((found.options_srr, found.inet_opt, found.has_sock_ops_cookie), (0, 8, 0));
    }
}
