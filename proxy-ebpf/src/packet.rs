//! A TCP packet in an skb: reading its addresses, and writing others with the checksums put right.
//!
//! Addresses are read to and written from map values: with both families' on it, the stack of 512 bytes is too small.
#![allow(unsafe_code, reason = "helpers take raw pointers")]

use core::mem;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_PSEUDO_HDR, bpf_sock, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::generated::{
        bpf_csum_diff, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_sk_release, bpf_skb_load_bytes,
        bpf_skb_store_bytes, bpf_skc_lookup_tcp,
    },
    programs::TcContext,
};
use proxy_common::{
    addr::{Addr, Port},
    wire::ConnectionKey,
};

use crate::{
    ctx::load32,
    uapi::{BPF_F_CURRENT_NETNS, IPPROTO_TCP},
};

const ETH_HEADER: u32 = 14;
const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const IP_CHECKSUM: u32 = ETH_HEADER + 10;
const TCP_CHECKSUM: u32 = 16;
const SYN_ACK: u8 = 0x12;
const SYN: u8 = 0x02;
const TCP_LISTEN: u32 = 10;

const TUPLE4: u32 = mem::size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32;
const TUPLE6: u32 = mem::size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>() as u32;

/// Room for a tuple of either family.
pub(crate) type Tuple = [u32; 9];

/// Which address and port of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// Where things are in a packet.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    skb: *mut __sk_buff,
    pub(crate) v4: bool,
    flags: u8,
    /// Offset of the TCP header.
    tcp: u32,
}

impl Packet {
    /// Reads source (as the client) and destination of a TCP packet over Ethernet. None: something else, a fragment
    /// (without conntrack nobody puts them together first), or IPv6 with extension headers.
    #[inline(always)]
    pub(crate) fn read(ctx: &TcContext, ends: &mut ConnectionKey) -> Option<Self> {
        let skb = ctx.skb.skb;
        let (v4, tcp) = match u16::from_be(load32!(skb, __sk_buff, protocol) as u16) {
            ETH_P_IP => {
                let head: [u8; 10] = load(skb, ETH_HEADER)?;
                if head[0] >> 4 != 4
                    || u32::from(head[9]) != IPPROTO_TCP
                    || head[6] & 0x3f != 0
                    || head[7] != 0
                {
                    return None;
                }
                ends.client = Addr::v4([0; 4]);
                ends.sidecar = Addr::v4([0; 4]);
                load_to(skb, ETH_HEADER + 12, &mut ends.client.0[12..])?;
                load_to(skb, ETH_HEADER + 16, &mut ends.sidecar.0[12..])?;
                (true, ETH_HEADER + u32::from(head[0] & 0xf) * 4)
            }
            ETH_P_IPV6 => {
                let head: [u8; 7] = load(skb, ETH_HEADER)?;
                if head[0] >> 4 != 6 || u32::from(head[6]) != IPPROTO_TCP {
                    return None;
                }
                load_to(skb, ETH_HEADER + 8, &mut ends.client.0)?;
                load_to(skb, ETH_HEADER + 24, &mut ends.sidecar.0)?;
                (false, ETH_HEADER + 40)
            }
            _ => return None,
        };
        let [a, b, c, d] = load(skb, tcp)?;
        (ends.client_port, ends.sidecar_port) = (Port([a, b]), Port([c, d]));
        let [flags] = load(skb, tcp + 13)?;
        Some(Self { skb, v4, flags, tcp })
    }

    /// A SYN.
    #[inline(always)]
    pub(crate) fn is_first(&self) -> bool {
        self.flags & SYN_ACK == SYN
    }

    /// Gives one end another address.
    #[inline(always)]
    pub(crate) fn set_addr(&self, side: Side, old: &Addr, new: &Addr) -> Option<()> {
        if old.0 == new.0 {
            return Some(());
        }
        let tcp = self.tcp + TCP_CHECKSUM;
        let pseudo = u64::from(BPF_F_PSEUDO_HDR);
        let destination = side == Side::Destination;
        if self.v4 {
            let (from, to) = (u32::from_ne_bytes(old.octets4()), u32::from_ne_bytes(new.octets4()));
            self.l4_checksum(tcp, from.into(), to.into(), pseudo | 4)?;
            self.ip_checksum(from.into(), to.into())?;
            return store(self.skb, ETH_HEADER + if destination { 16 } else { 12 }, &new.0[12..]);
        }
        let (from, to) = (old.0.as_ptr().cast_mut().cast(), new.0.as_ptr().cast_mut().cast());
        // SAFETY: sixteen bytes each.
        let difference = unsafe { bpf_csum_diff(from, 16, to, 16, 0) };
        self.l4_checksum(tcp, 0, u64::try_from(difference).ok()?, pseudo)?;
        store(self.skb, ETH_HEADER + if destination { 24 } else { 8 }, &new.0)
    }

    /// Gives one end another port.
    #[inline(always)]
    pub(crate) fn set_port(&self, side: Side, old: Port, new: Port) -> Option<()> {
        if old.0 == new.0 {
            return Some(());
        }
        let (from, to) = (u16::from_ne_bytes(old.0), u16::from_ne_bytes(new.0));
        self.l4_checksum(self.tcp + TCP_CHECKSUM, from.into(), to.into(), 2)?;
        store(self.skb, self.tcp + if side == Side::Destination { 2 } else { 0 }, &new.0)
    }

    #[inline(always)]
    fn l4_checksum(&self, at: u32, from: u64, to: u64, flags: u64) -> Option<()> {
        // SAFETY: plain numbers; the helper checks the offset.
        let ret = unsafe { bpf_l4_csum_replace(self.skb, at, from, to, flags) };
        (ret == 0).then_some(())
    }

    #[inline(always)]
    fn ip_checksum(&self, from: u64, to: u64) -> Option<()> {
        // SAFETY: as above.
        let ret = unsafe { bpf_l3_csum_replace(self.skb, IP_CHECKSUM, from, to, 4) };
        (ret == 0).then_some(())
    }

    /// Whether this host holds a connection from `client` to `server`, in whatever state but LISTEN.
    #[inline(always)]
    pub(crate) fn is_connected(
        &self,
        tuple: &mut Tuple,
        client: (&Addr, Port),
        server: (&Addr, Port),
    ) -> bool {
        let word = |addr: &Addr, i: usize| {
            u32::from_ne_bytes([addr.0[i * 4], addr.0[i * 4 + 1], addr.0[i * 4 + 2], addr.0[i * 4 + 3]])
        };
        let ([a, b], [c, d]) = (client.1.0, server.1.0);
        let ports = u32::from_ne_bytes([a, b, c, d]);
        // The size is how the helper tells the families apart, and must be a constant in each call.
        let found = if self.v4 {
            (tuple[0], tuple[1], tuple[2]) = (word(client.0, 3), word(server.0, 3), ports);
            self.look_up::<TUPLE4>(tuple)
        } else {
            for i in 0..4 {
                tuple[i] = word(client.0, i);
                tuple[4 + i] = word(server.0, i);
            }
            tuple[8] = ports;
            self.look_up::<TUPLE6>(tuple)
        };
        if found.is_null() {
            return false;
        }
        let state = load32!(found, bpf_sock, state);
        // SAFETY: the reference the lookup took.
        unsafe { bpf_sk_release(found.cast()) };
        state != TCP_LISTEN
    }

    #[inline(always)]
    fn look_up<const SIZE: u32>(&self, tuple: &mut Tuple) -> *mut bpf_sock {
        // SAFETY: a tuple of one of the two sizes.
        unsafe {
            bpf_skc_lookup_tcp(self.skb.cast(), tuple.as_mut_ptr().cast(), SIZE, BPF_F_CURRENT_NETNS, 0)
        }
    }
}

#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, at: u32) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    load_to(skb, at, &mut bytes)?;
    Some(bytes)
}

#[inline(always)]
fn load_to(skb: *mut __sk_buff, at: u32, to: &mut [u8]) -> Option<()> {
    // SAFETY: the slice's own memory; the helper checks the offset.
    let ret = unsafe { bpf_skb_load_bytes(skb.cast(), at, to.as_mut_ptr().cast(), to.len() as u32) };
    (ret == 0).then_some(())
}

#[inline(always)]
fn store(skb: *mut __sk_buff, at: u32, from: &[u8]) -> Option<()> {
    // SAFETY: as above.
    let ret = unsafe { bpf_skb_store_bytes(skb, at, from.as_ptr().cast(), from.len() as u32, 0) };
    (ret == 0).then_some(())
}
