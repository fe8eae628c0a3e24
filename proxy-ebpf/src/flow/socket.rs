//! What is read of a socket: fields at offsets the loader took from the kernel's BTF.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::flow::{FlowRecord, Queues, flow_flag};

use crate::{
    kernel_memory::{self, read},
    rodata::known,
    workload::Workload,
};

/// States of TCP (include/net/tcp_states.h).
pub(super) mod state {
    pub(in crate::flow) const SYN_SENT: u32 = 2;
    pub(in crate::flow) const FIN_WAIT1: u32 = 4;
    pub(in crate::flow) const FIN_WAIT2: u32 = 5;
    pub(in crate::flow) const TIME_WAIT: u32 = 6;
    pub(in crate::flow) const CLOSE: u32 = 7;
    pub(in crate::flow) const LAST_ACK: u32 = 9;
    pub(in crate::flow) const CLOSING: u32 = 11;
}

/// Marks a record as this workload's.
#[inline(always)]
pub(super) fn sign(me: &Workload, record: &mut FlowRecord) {
    (record.cgroup, record.netns) = me.identity();
}

/// Where `task_struct` keeps the process's number and name.
pub(super) struct TaskOffsets {
    pub(super) tgid: u32,
    pub(super) leader: u32,
    pub(super) comm: u32,
}

/// None where programs may not look at the task.
#[inline(always)]
pub(super) fn task_offsets() -> Option<TaskOffsets> {
    let tgid = known!(FLOW.task_tgid);
    (tgid != 0).then(|| TaskOffsets { tgid, leader: known!(FLOW.task_leader), comm: known!(FLOW.task_comm) })
}

/// `struct sock *`, as a number: the verifier allows no arithmetic on the pointer.
#[derive(Clone, Copy)]
pub(super) struct Socket(u64);

impl Socket {
    #[inline(always)]
    pub(super) fn of(sk: *mut bpf_sock) -> Self {
        Self(address(sk))
    }

    /// A socket that may be gone. Its cookie tells.
    #[inline(always)]
    pub(super) fn at(address: u64) -> Self {
        Self(address)
    }

    #[inline(always)]
    pub(super) fn cookie(self) -> u64 {
        field(self.0, known!(FLOW.sk_cookie))
    }

    #[inline(always)]
    pub(super) fn state(self) -> u32 {
        field::<u8>(self.0, known!(FLOW.sk_state)).into()
    }

    #[inline(always)]
    pub(super) fn error(self) -> u32 {
        field(self.0, known!(FLOW.sk_err))
    }

    #[inline(always)]
    pub(super) fn is_mptcp(self) -> bool {
        let at = known!(FLOW.tcp_is_mptcp);
        at != 0 && field::<u8>(self.0, at) != 0
    }

    /// Whether a process has it: not before accept, not after close.
    #[inline(always)]
    pub(super) fn has_owner(self) -> bool {
        field::<u64>(self.0, known!(FLOW.sk_socket)) != 0
    }

    #[inline(always)]
    pub(super) fn interface(self) -> u32 {
        field(self.0, known!(FLOW.sk_ifindex))
    }

    #[inline(always)]
    pub(super) fn write_seq(self) -> u32 {
        field(self.0, known!(FLOW.tcp_write_seq))
    }

    #[inline(always)]
    pub(super) fn copied_seq(self) -> u32 {
        field(self.0, known!(FLOW.tcp_copied_seq))
    }

    /// Smoothed, in microseconds; the kernel keeps eighths.
    #[inline(always)]
    pub(super) fn srtt_us(self) -> u32 {
        field::<u32>(self.0, known!(FLOW.tcp_srtt_us)) >> 3
    }

    #[inline(always)]
    pub(super) fn retransmits(self) -> u32 {
        field(self.0, known!(FLOW.tcp_total_retrans))
    }

    /// Bytes the application wrote to the stack. `fin_sent`: a FIN stands at the end of the numbers.
    #[inline(always)]
    pub(super) fn sent(self, record: &FlowRecord, fin_sent: bool) -> u64 {
        if !record.has(flow_flag::ESTABLISHED) {
            return 0;
        }
        let low = self.write_seq().wrapping_sub(record.snd_base).wrapping_sub(u32::from(fin_sent));
        widen(low, field(self.0, known!(FLOW.tcp_bytes_acked)))
    }

    /// Bytes the application read from the stack. A FIN is read like a byte, or not yet.
    #[inline(always)]
    pub(super) fn received(self, record: &FlowRecord) -> u64 {
        if !record.has(flow_flag::ESTABLISHED) {
            return 0;
        }
        let copied = self.copied_seq();
        let next: u32 = field(self.0, known!(FLOW.tcp_rcv_nxt));
        let read_fin = self.saw_fin() && copied == next;
        let low = copied.wrapping_sub(record.rcv_base).wrapping_sub(u32::from(read_fin));
        widen(low, field(self.0, known!(FLOW.tcp_bytes_received)))
    }

    /// What waits in the queues of an end that is open. What only grows is read last: a difference is never below zero.
    #[inline(always)]
    pub(super) fn queues(self, record: &FlowRecord, fin_sent: bool) -> Queues {
        if !record.has(flow_flag::ESTABLISHED) || record.close != 0 {
            return Queues::default();
        }
        let acknowledged: u32 = field(self.0, known!(FLOW.tcp_snd_una));
        let send = self.write_seq().wrapping_sub(acknowledged);
        let copied = self.copied_seq();
        let receive = field::<u32>(self.0, known!(FLOW.tcp_rcv_nxt)).wrapping_sub(copied);
        let at = known!(FLOW.tcp_mstamp);
        Queues {
            active_at: if at == 0 { 0 } else { field(self.0, at) },
            // A FIN has a number, and is no byte.
            send: send - u32::from(fin_sent && send != 0),
            receive: receive - u32::from(receive != 0 && self.saw_fin()),
        }
    }

    /// `SOCK_DONE`: the other end's FIN is here (`net/ipv4/tcp_input.c: tcp_fin`).
    #[inline(always)]
    pub(super) fn saw_fin(self) -> bool {
        const SOCK_DONE: u64 = 1 << 1;
        field::<u64>(self.0, known!(FLOW.sk_flags)) & SOCK_DONE != 0
    }

    /// Redirected bytes that wait at the socket.
    #[inline(always)]
    pub(super) fn unread(self) -> u32 {
        const PSOCK: u64 = 1 << 2;
        const FLAGS: u64 = 0b111;
        let psock: u64 = field(self.0, known!(FLOW.sk_user_data));
        if psock & PSOCK == 0 {
            return 0;
        }
        let psock = psock & !FLAGS;
        let total = known!(FLOW.psock_total);
        if total != 0 {
            return field(psock, total);
        }
        walk(psock + u64::from(known!(FLOW.psock_ingress)))
    }
}

/// Bytes in a list of `sk_msg`; a bound for the verifier, longer ones are cut.
#[inline(always)]
fn walk(head: u64) -> u32 {
    const MESSAGES: u32 = 256;
    let mut bytes = 0u32;
    let mut at: u64 = field(head, 0);
    for _ in 0..MESSAGES {
        if at == 0 || at == head {
            break;
        }
        let message = at.wrapping_sub(u64::from(known!(FLOW.msg_list)));
        bytes = bytes.wrapping_add(field::<u32>(message, known!(FLOW.msg_size)));
        at = field(at, 0);
    }
    bytes
}

/// The 64 bits of a count whose lower half is known exactly, and the whole within 2^31.
#[inline(always)]
fn widen(low: u32, near: u64) -> u64 {
    let apart = low.wrapping_sub(near as u32) as i32;
    near.wrapping_add(apart as i64 as u64)
}

/// A field, zero where there is nothing to read: the pointer to its structure went stale.
#[inline(always)]
pub(super) fn field<T: Default>(base: u64, offset: u32) -> T {
    read(base, offset).unwrap_or_default()
}

/// A pointer as a number, 0 where it cannot be told.
#[inline(always)]
pub(super) fn address<T>(pointer: *const T) -> u64 {
    kernel_memory::address(pointer).unwrap_or_default()
}

/// Whether a FIN was sent, by the state of TCP.
#[inline(always)]
pub(super) fn fin_sent(tcp: u32) -> bool {
    matches!(tcp, state::FIN_WAIT1 | state::FIN_WAIT2 | state::TIME_WAIT | state::LAST_ACK | state::CLOSING)
}
