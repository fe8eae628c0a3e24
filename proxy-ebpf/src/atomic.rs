//! Atomic operations on map values. Rust has none for the BPF target (`core::sync::atomic` loads and stores only).
#![allow(unsafe_code, reason = "inline assembly")]

/// Adds to a sum: a program may interrupt another on the same CPU, and nothing may be lost.
#[inline(always)]
pub(crate) fn add(sum: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a map value aligned to eight bytes; the verifier checks both.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({sum} + 0) += {value}",
            sum = in(reg) sum, value = in(reg) value, options(nostack)
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the host never runs this.
    unsafe {
        *sum += value;
    }
}

/// Adds; returns what was there.
#[inline(always)]
pub(crate) fn fetch_add(sum: *mut u64, value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "{value} = atomic_fetch_add((u64 *)({sum} + 0), {value})",
                sum = in(reg) sum, value = inout(reg) value, options(nostack)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: the host never runs this.
    unsafe {
        *sum += value;
        *sum - value
    }
}

/// Sets bits; returns those that were set.
#[inline(always)]
pub(crate) fn fetch_or(bits: &mut u64, more: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = more;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "{value} = atomic_fetch_or((u64 *)({bits} + 0), {value})",
                bits = in(reg) bits, value = inout(reg) value, options(nostack)
            );
        }
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let before = *bits;
        *bits |= more;
        before
    }
}

/// Puts `new` there if `old` is there still; returns what was there.
#[inline(always)]
pub(crate) fn exchange(word: &mut u64, old: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut found = old;
        // SAFETY: as above; the instruction compares with r0 and answers in it.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) word, new = in(reg) new, inout("r0") found, options(nostack)
            );
        }
        found
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let found = *word;
        if found == old {
            *word = new;
        }
        found
    }
}
