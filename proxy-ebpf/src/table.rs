//! Read-only data the loader fills in: what the verifier may rely on, so that it drops what is not needed.
#![allow(unsafe_code, reason = "the loader replaces these globals; only a volatile read sees that")]

use proxy_common::{wire::Kernel, workload::feature};

// SAFETY: names the loader looks up; they clash with nothing in this object.
#[unsafe(no_mangle)]
static FEATURES: u32 = 0;

// SAFETY: as above.
#[unsafe(no_mangle)]
static KERNEL: Kernel = Kernel {
    sk_socket: 0,
    socket_file: 0,
    file_cred: 0,
    cred_fsuid: 0,
    cred_fsgid: 0,
    inet_opt: 0,
    options_srr: 0,
    inet_pinet6: 0,
    pinet6_opt: 0,
    txoptions_srcrt: 0,
    sk_dst_cache: 0,
    dst_dev: 0,
    dev_ifindex: 0,
    has_ingress_ifindex: 0,
    has_sock_ops_cookie: 0,
};

/// A read of one field, so that the verifier knows its value and drops what is switched off.
macro_rules! field {
    ($global:ident . $field:ident) => {
        // SAFETY: an initialised static; volatile because the loader writes it before the kernel sees it.
        unsafe { core::ptr::read_volatile(&raw const $global.$field) }
    };
}

/// Bits of [`feature`] these programs were loaded with.
#[inline(always)]
pub(crate) fn features() -> u32 {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const FEATURES) }
}

/// Connections are recorded.
#[inline(always)]
pub(crate) fn observes() -> bool {
    features() & feature::OBSERVE != 0
}

/// Sockets may enter the acceleration's map.
#[inline(always)]
pub(crate) fn accelerates() -> bool {
    features() & feature::ACCELERATE != 0
}

#[inline(always)]
pub(crate) fn kernel() -> Kernel {
    Kernel {
        sk_socket: field!(KERNEL.sk_socket),
        socket_file: field!(KERNEL.socket_file),
        file_cred: field!(KERNEL.file_cred),
        cred_fsuid: field!(KERNEL.cred_fsuid),
        cred_fsgid: field!(KERNEL.cred_fsgid),
        inet_opt: field!(KERNEL.inet_opt),
        options_srr: field!(KERNEL.options_srr),
        inet_pinet6: field!(KERNEL.inet_pinet6),
        pinet6_opt: field!(KERNEL.pinet6_opt),
        txoptions_srcrt: field!(KERNEL.txoptions_srcrt),
        sk_dst_cache: field!(KERNEL.sk_dst_cache),
        dst_dev: field!(KERNEL.dst_dev),
        dev_ifindex: field!(KERNEL.dev_ifindex),
        has_ingress_ifindex: field!(KERNEL.has_ingress_ifindex),
        has_sock_ops_cookie: field!(KERNEL.has_sock_ops_cookie),
    }
}
