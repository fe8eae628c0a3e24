//! Turnarounds, as the ends of a connection see its bytes pass: packets here, what is redirected where it is redirected. A
//! packet is looked at, never touched, and always passes.
#![allow(unsafe_code, reason = "helpers and packets; the entry points are exported by name")]

use core::hint::black_box;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_tcp_sock},
    helpers::generated::bpf_tcp_sock as tcp_sock_of,
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use proxy_common::flow::{FINE, FlowRecord, LiveEnd, Measured, Segment, Turn, fine_bucket, flow_flag};

use super::{
    headers::{self, Transport, byte},
    maps, questions,
};
use crate::{
    atomic,
    clock::now,
    ctx::{load32, load64},
    rodata,
    uapi::{IPPROTO_TCP, IPPROTO_UDP, cgroup::ALLOW},
    workload,
};

/// The end before its first request.
#[inline(always)]
pub(super) fn begin(end: &mut LiveEnd, record: &FlowRecord) {
    let is_server = !record.has(flow_flag::CLIENT);
    end.turn = if rodata::times() { Turn::new(record.class, is_server) } else { Turn::OFF };
}

/// A packet that a socket of the workload receives, before TCP has it.
#[cgroup_skb(ingress)]
pub(crate) fn flow_in(ctx: SkBuffContext) -> i32 {
    let _ = passes(ctx.skb.skb, false);
    ALLOW
}

/// One that it sends.
#[cgroup_skb(egress)]
pub(crate) fn flow_out(ctx: SkBuffContext) -> i32 {
    let _ = passes(ctx.skb.skb, true);
    ALLOW
}

/// None: nothing that counts. Most packets are done with before anything of their connection is looked up.
#[inline(always)]
fn passes(skb: *mut __sk_buff, sends: bool) -> Option<()> {
    let transport = headers::transport(skb)?;
    if transport.protocol == IPPROTO_UDP && rodata::captures_dns() {
        questions::passes(skb, transport, sends);
    }
    let (seq, end_of_payload) = payload(skb, transport)?;
    let sk = load64!(skb, __sk_buff, __bindgen_anon_2) as *mut bpf_sock;
    if sk.is_null() {
        return None;
    }
    // SAFETY: a socket of the context; null if it is not TCP's, or not a full one.
    let tcp: *mut bpf_tcp_sock = unsafe { tcp_sock_of(sk) };
    if tcp.is_null() {
        return None;
    }
    let (sent, received) = (load32!(tcp, bpf_tcp_sock, snd_nxt), load32!(tcp, bpf_tcp_sock, rcv_nxt));
    let (next, other) = if sends { (sent, received) } else { (received, sent) };
    // TCP moves its numbers on when it has sent, and after this when it receives: what they cover was there before.
    if end_of_payload.wrapping_sub(next) as i32 <= 0 {
        return None;
    }
    // What it sends it has counted.
    let before = load32!(tcp, bpf_tcp_sock, data_segs_in)
        .wrapping_add(load32!(tcp, bpf_tcp_sock, data_segs_out))
        .saturating_sub(u32::from(sends));
    let segment = Segment { seq, end: end_of_payload, other, before };
    if !segment.is_looked_at() {
        return None;
    }
    let record = maps::record(sk)?;
    let end = end_of(record.live_index)?;
    let is_request = sends != end.turn.is_server();
    let weight = segment.weight(is_request);
    if end.cookie != record.cookie || weight == 0 {
        return None;
    }
    // A first request that came with the end of the handshake was no packet of this socket.
    if sends && !is_request && end.turn.number == 0 && received != record.rcv_base {
        let established_at = record.established_at;
        end.turn.passes(false, Some(1), || established_at);
    }
    let found = end.turn.passes(sends, Some(weight), now)?;
    add(end, found);
    Some(())
}

/// Bytes were put past the stack into the other end's queue.
#[inline(always)]
pub(crate) fn handed_over(own: u32, other: u32, other_cookie: u64) {
    if let Some(end) = end_of(own)
        && let Some(found) = end.turn.passes(true, None, now)
    {
        add(end, found);
    }
    if let Some(end) = end_of(other)
        && end.cookie == other_cookie
        && let Some(found) = end.turn.passes(false, None, now)
    {
        add(end, found);
    }
}

/// `index`: as records have it.
#[inline(always)]
fn end_of(index: u32) -> Option<&'static mut LiveEnd> {
    if index == 0 { None } else { maps::live(index - 1) }
}

#[inline(always)]
fn add(end: &LiveEnd, found: Measured) {
    // The slot may be another workload's by now.
    if workload::share_of(end.tenancy).is_none() {
        return;
    }
    let Some(sum) = maps::turnarounds(end.tenancy as u32, end.turn.class, end.turn.is_server()) else {
        return;
    };
    let us = found.ns / 1000;
    // LLVM knows that there is such a bucket, and would leave out what shows the verifier.
    let bucket = black_box(fine_bucket(us));
    // SAFETY: fields of a map value.
    unsafe {
        if bucket < FINE {
            atomic::add((&raw mut (*sum).buckets).cast::<u64>().add(bucket), found.weight);
        }
        atomic::add(&raw mut (*sum).sum, us * found.weight);
        atomic::add(&raw mut (*sum).measured, 1);
    }
}

/// The numbers of the first byte that a TCP packet carries, and behind the last one. None: it carries none, or is another's.
#[inline(always)]
fn payload(skb: *mut __sk_buff, transport: Transport) -> Option<(u32, u32)> {
    const TCP_HEADER: usize = 20;
    let Transport { protocol, ip, begin: tcp, end, .. } = transport;
    if protocol != IPPROTO_TCP || tcp + TCP_HEADER > end {
        return None;
    }
    let headers = ip as u32 + u32::from(byte(tcp + 12) >> 4) * 4;
    let bytes = load32!(skb, __sk_buff, len).wrapping_sub(headers);
    if bytes as i32 <= 0 {
        return None;
    }
    // SAFETY: within the packet, as was compared.
    let [a, b, c, d] = unsafe { ((tcp + 4) as *const [u8; 4]).read() };
    let seq = u32::from_be_bytes([a, b, c, d]);
    Some((seq, seq.wrapping_add(bytes)))
}
