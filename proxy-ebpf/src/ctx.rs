//! Loads and stores of context fields, one instruction each at a constant offset.
//!
//! The verifier takes a context field only as `*(u32 *)(ctx + constant)` (`kernel/bpf/verifier.c: check_ctx_reg`). Plain
//! Rust gives LLVM the freedom to compute the address first, or to merge two neighbours; these do not.
#![allow(unsafe_code, reason = "inline assembly")]

/// A 32-bit field of a context, or of a socket found in one.
macro_rules! load32 {
    ($base:expr, $type:ty, $field:ident $(+ $more:expr)?) => {{
        const OFFSET: usize = core::mem::offset_of!($type, $field) $(+ $more)?;
        #[cfg(target_arch = "bpf")]
        {
            let value: u64;
            // SAFETY: a readable field at this offset; the verifier checks both.
            unsafe {
                core::arch::asm!(
                    "{value} = *(u32 *)({base} + {offset})",
                    value = out(reg) value, base = in(reg) $base, offset = const OFFSET,
                    options(nostack, readonly)
                );
            }
            value as u32
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: the host never runs this; it keeps clippy's eyes on the code around it.
        unsafe { $base.byte_add(OFFSET).cast::<u32>().read_unaligned() }
    }};
}

/// A pointer-sized field.
macro_rules! load64 {
    ($base:expr, $type:ty, $field:ident) => {{
        const OFFSET: usize = core::mem::offset_of!($type, $field);
        #[cfg(target_arch = "bpf")]
        {
            let value: u64;
            // SAFETY: a readable field at this offset; the verifier checks both.
            unsafe {
                core::arch::asm!(
                    "{value} = *(u64 *)({base} + {offset})",
                    value = out(reg) value, base = in(reg) $base, offset = const OFFSET,
                    options(nostack, readonly)
                );
            }
            value
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: the host never runs this.
        unsafe { $base.byte_add(OFFSET).cast::<u64>().read_unaligned() }
    }};
}

/// Writes a 32-bit field.
macro_rules! store32 {
    ($base:expr, $type:ty, $field:ident $(+ $more:expr)?, $value:expr) => {{
        const OFFSET: usize = core::mem::offset_of!($type, $field) $(+ $more)?;
        let value: u32 = $value;
        #[cfg(target_arch = "bpf")]
        // SAFETY: a writable field at this offset; the verifier checks both.
        unsafe {
            core::arch::asm!(
                "*(u32 *)({base} + {offset}) = {value}",
                value = in(reg) u64::from(value), base = in(reg) $base, offset = const OFFSET,
                options(nostack)
            );
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: the host never runs this.
        unsafe { $base.byte_add(OFFSET).cast::<u32>().write_unaligned(value) }
    }};
}

/// Four words of a context, each in network order, as an address.
macro_rules! load_addr {
    ($base:expr, $type:ty, $field:ident) => {
        crate::ctx::from_words([
            crate::ctx::load32!($base, $type, $field),
            crate::ctx::load32!($base, $type, $field + 4),
            crate::ctx::load32!($base, $type, $field + 8),
            crate::ctx::load32!($base, $type, $field + 12),
        ])
    };
}

/// Where a packet begins and ends, as numbers. A context's 32-bit fields that the verifier makes pointers of: not a step may
/// be done with them as 32-bit numbers.
macro_rules! packet {
    ($skb:expr) => {{
        const BEGIN: usize = core::mem::offset_of!(__sk_buff, data);
        const END: usize = core::mem::offset_of!(__sk_buff, data_end);
        #[cfg(target_arch = "bpf")]
        {
            let (begin, end): (usize, usize);
            // SAFETY: readable fields at these offsets; the verifier checks them.
            unsafe {
                core::arch::asm!(
                    "{begin} = *(u32 *)({skb} + {at})",
                    begin = out(reg) begin, skb = in(reg) $skb, at = const BEGIN,
                    options(nostack, readonly)
                );
                core::arch::asm!(
                    "{end} = *(u32 *)({skb} + {at})",
                    end = out(reg) end, skb = in(reg) $skb, at = const END,
                    options(nostack, readonly)
                );
            }
            (begin, end)
        }
        #[cfg(not(target_arch = "bpf"))]
        // SAFETY: the host never runs this.
        unsafe {
            let at = |offset: usize| $skb.byte_add(offset).cast::<u32>().read_unaligned() as usize;
            (at(BEGIN), at(END))
        }
    }};
}

pub(crate) use {load_addr, load32, load64, packet, store32};

use proxy_common::addr::Addr;

#[inline(always)]
pub(crate) fn from_words(words: [u32; 4]) -> Addr {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    Addr([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]])
}

#[inline(always)]
pub(crate) fn to_words(addr: &Addr) -> [u32; 4] {
    let a = &addr.0;
    [
        u32::from_ne_bytes([a[0], a[1], a[2], a[3]]),
        u32::from_ne_bytes([a[4], a[5], a[6], a[7]]),
        u32::from_ne_bytes([a[8], a[9], a[10], a[11]]),
        u32::from_ne_bytes([a[12], a[13], a[14], a[15]]),
    ]
}
