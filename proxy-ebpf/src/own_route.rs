//! Routes a socket brings along: a source route (IP_OPTIONS), a routing header (IPV6_RTHDR). Its packets go to the first
//! host named there, whatever the destination is turned to; iptables turns each packet, and so that one too.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::wire::role;

use crate::{
    kernel_memory::{address, pointer, read},
    rodata::known,
    storage,
    uapi::{SOL_IP, SOL_IPV6},
};

const IP_OPTIONS: i32 = 4;
/// `IPV6_2292PKTOPTIONS`, by which RFC 2292 set all of them.
const IPV6_OLD_OPTIONS: i32 = 6;
const IPV6_RTHDR: i32 = 57;

/// Whether the socket has one.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> bool {
    if known!(KERNEL.inet_opt) == 0 {
        return false;
    }
    let Some(sk) = address(sk) else { return false };
    let has_source_route = pointer(sk, known!(KERNEL.inet_opt))
        .and_then(|options| read::<u8>(options, known!(KERNEL.options_srr)))
        .is_some_and(|at| at != 0);
    has_source_route
        || known!(KERNEL.inet_pinet6) != 0
            && pointer(sk, known!(KERNEL.inet_pinet6))
                .and_then(|v6| pointer(v6, known!(KERNEL.pinet6_opt)))
                .and_then(|options| pointer(options, known!(KERNEL.txoptions_srcrt)))
                .is_some()
}

/// Whether an option of a socket brings one for a connection that is captured already.
#[inline(always)]
pub(crate) fn comes_with(sk: *mut bpf_sock, level: i32, name: i32) -> bool {
    let names_hosts = level == SOL_IP && name == IP_OPTIONS
        || level == SOL_IPV6 && (name == IPV6_RTHDR || name == IPV6_OLD_OPTIONS);
    names_hosts && storage::get(sk).is_some_and(|state| state.role == role::CLIENT)
}
