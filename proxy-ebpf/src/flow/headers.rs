//! The headers that packets of the workload's sockets begin with.
#![allow(unsafe_code, reason = "packets")]

use aya_ebpf::bindings::__sk_buff;

use crate::ctx::packet;

/// A packet behind its IP header. Of IPv6 with extension headers the protocol is that of the first.
#[derive(Clone, Copy)]
pub(super) struct Transport {
    pub(super) protocol: u32,
    pub(super) is_v4: bool,
    /// Bytes of the IP header.
    pub(super) ip: usize,
    /// Where its own header begins, and where the bytes end that can be read directly.
    pub(super) begin: usize,
    pub(super) end: usize,
}

/// None: no IP.
#[inline(always)]
pub(super) fn transport(skb: *mut __sk_buff) -> Option<Transport> {
    const IPV4_HEADER: usize = 20;
    const IPV6_HEADER: usize = 40;
    let (begin, end) = packet!(skb);
    // As much as either protocol's field takes.
    if begin + IPV4_HEADER > end {
        return None;
    }
    let first = byte(begin);
    let (is_v4, protocol, ip) = match first >> 4 {
        4 => (true, byte(begin + 9), usize::from(first & 0xf) * 4),
        6 => (false, byte(begin + 6), IPV6_HEADER),
        _ => return None,
    };
    Some(Transport { protocol: protocol.into(), is_v4, ip, begin: begin + ip, end })
}

/// A byte of the packet that was compared with its end.
#[inline(always)]
pub(super) fn byte(at: usize) -> u8 {
    // SAFETY: the caller has; the verifier sees to it.
    unsafe { (at as *const u8).read() }
}
