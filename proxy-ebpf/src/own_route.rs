//! Routes a socket brings along: a source route (IP_OPTIONS), a routing header (IPV6_RTHDR). Its packets go to the first
//! host named there, whatever the destination is turned to; iptables turns each packet, and so that one too.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::wire::role;

use crate::{owner::read, storage, table};

const SOL_IP: i32 = 0;
const IP_OPTIONS: i32 = 4;
const SOL_IPV6: i32 = 41;
/// `IPV6_2292PKTOPTIONS`, by which RFC 2292 set all of them.
const IPV6_OLD_OPTIONS: i32 = 6;
const IPV6_RTHDR: i32 = 57;

/// Whether the socket has one.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> bool {
    let kernel = table::kernel();
    if kernel.inet_opt == 0 {
        return false;
    }
    // The verifier allows no arithmetic on a socket pointer; read back through the helper it is a number.
    let Some(number) = read::<u64>((&raw const sk) as u64, 0) else { return false };
    let has_source_route = member(number, kernel.inet_opt)
        .and_then(|options| read::<u8>(options, kernel.options_srr))
        .is_some_and(|at| at != 0);
    has_source_route
        || kernel.inet_pinet6 != 0
            && member(number, kernel.inet_pinet6)
                .and_then(|v6| member(v6, kernel.pinet6_opt))
                .and_then(|options| member(options, kernel.txoptions_srcrt))
                .is_some()
}

/// A pointer in a structure; none: null.
#[inline(always)]
fn member(base: u64, offset: u32) -> Option<u64> {
    read::<u64>(base, offset).filter(|pointer| *pointer != 0)
}

/// Whether an option of a socket brings one for a connection that is captured already.
#[inline(always)]
pub(crate) fn comes_with(sk: *mut bpf_sock, level: i32, name: i32) -> bool {
    let names_hosts = level == SOL_IP && name == IP_OPTIONS
        || level == SOL_IPV6 && (name == IPV6_RTHDR || name == IPV6_OLD_OPTIONS);
    names_hosts && storage::get(sk).is_some_and(|state| state.role == role::CLIENT)
}
