//! Gathers what the decision wants to know about an outgoing connection or datagram.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    egress::{Egress, egress},
    verdict::Verdict,
    wire::{Owner, route_flag},
};

use crate::{owner, sock_addr::SockAddr, workload::Workload};

/// A decided call.
pub(crate) struct Outgoing {
    pub(crate) verdict: Verdict,
    pub(crate) dst: Addr,
    pub(crate) port: Port,
    /// The source the kernel would choose for an unbound socket; unspecified: unknown or not needed.
    pub(crate) keep_src: Addr,
    /// The destination is this host's.
    pub(crate) is_local: bool,
    pub(crate) owner: Owner,
}

/// None: not this workload's, or the kernel is going to refuse the call by itself.
#[inline(always)]
pub(crate) fn decide(me: &Workload, call: &SockAddr, sk: *mut bpf_sock) -> Option<Outgoing> {
    if !call.in_netns(me.netns_cookie()) {
        me.count_event(Event::OtherNetns);
        return None;
    }
    let (dst, port) = (call.addr(), call.port());
    let (flags, mut src) = match me.route(&dst) {
        Some(route) if route.src.is_unspecified() => (route.flags, dst),
        Some(route) => (route.flags, route.src),
        // Not known to us does not mean not routable: what iptables would capture must not leave in plain text.
        None => {
            me.count_event(Event::NoRoute);
            (0, Addr::UNSPECIFIED)
        }
    };
    if flags & route_flag::UNREACHABLE != 0 {
        return None;
    }
    let bound = call.bound(sk);
    let is_bound = !bound.is_unspecified();
    if is_bound {
        src = bound;
        // A loopback source towards another host: `net/ipv4/route.c: ip_route_output_key_hash_rcu` refuses it. IPv6
        // has no such check.
        if bound.is_v4() && bound.is_loopback() && flags & route_flag::LOCAL == 0 {
            return None;
        }
    }
    let owner = owner::of(sk);
    let verdict = egress(
        me,
        &Egress {
            tcp: call.is_tcp(),
            src,
            dst,
            dport: port.get(),
            out_lo: flags & route_flag::LOCAL != 0,
            out_excluded: flags & route_flag::EXCLUDED != 0,
            uid: owner.uid,
            gid: owner.gid,
            mark: call.mark(sk),
        },
    );
    me.count_rule(verdict.rule);
    let keep_src = if is_bound || src.is_loopback() { Addr::UNSPECIFIED } else { src };
    Some(Outgoing { verdict, dst, port, keep_src, is_local: flags & route_flag::LOCAL != 0, owner })
}
