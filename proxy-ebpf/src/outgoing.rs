//! The decision on an outgoing connection or datagram, asked with what its socket, its route and its owner tell.

use aya_ebpf::bindings::bpf_sock;
use proxy_common::{
    addr::{Addr, Port},
    call::{Call, destination},
    counter::Event,
    egress::egress,
    verdict::{Target, Verdict},
    wire::Owner,
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

/// Gathers and decides. `bound`: the address it is sent from, unspecified if the route chooses it. None: no rule is asked,
/// because the call is made in another namespace or the kernel refuses it.
#[inline(always)]
pub(crate) fn decide(me: &Workload, call: &SockAddr, sk: *mut bpf_sock, bound: Addr) -> Option<Outgoing> {
    if !call.in_netns(me.netns_cookie()) {
        me.count_event(Event::OtherNetns);
        return None;
    }
    let (dst, port) = (destination(call.addr(), &bound), call.port());
    let route = me.route(&dst);
    let asked = Call { tcp: call.is_tcp(), dst, dport: port.get(), bound, mark: call.mark(sk) };
    let gathered = asked.gather(route, || owner::of(sk)).ok()?;
    let verdict = egress(me, &gathered);
    me.count_rule(verdict.rule);
    // What is left alone is the kernel's to route: resolvers connect UDP sockets to find out whether it can.
    if route.is_none() && verdict.target != Target::Bypass {
        me.count_event(Event::NoRoute);
    }
    Some(Outgoing {
        verdict,
        dst,
        port,
        keep_src: asked.source_to_keep(&gathered),
        is_local: gathered.out_lo || dst.is_loopback(),
        owner: Owner { uid: gathered.uid, gid: gathered.gid },
    })
}
