//! sk_lookup: a connection from outside goes to the sidecar's inbound listener. No NAT: the accepted socket's own
//! address is the original destination and its peer is the client.
#![allow(unsafe_code, reason = "the entry point is exported by name")]

use aya_ebpf::{
    bindings::{bpf_sk_lookup, sk_action},
    macros::sk_lookup,
    programs::SkLookupContext,
};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    ingress::{Ingress, ingress, is_over_lo},
    policy::{Table as _, flag},
    verdict::Target,
    wire::{ConnectionKey, ListenerGroup, is_spread, pending},
};

use crate::{
    ctx::{load_addr, load32},
    guest, listeners, maps,
    rodata::known,
    routes,
    uapi::{AF_INET, IPPROTO_TCP},
    workload::Workload,
};

const PASS: u32 = sk_action::SK_PASS;
/// The connection is refused, as when nobody listens on the port REDIRECT names.
const REFUSE: u32 = sk_action::SK_DROP;

#[sk_lookup]
pub(crate) fn inbound(ctx: SkLookupContext) -> u32 {
    if load32!(ctx.lookup, bpf_sk_lookup, protocol) != IPPROTO_TCP {
        return PASS;
    }
    let (local, remote) = addresses(&ctx);
    let port = load32!(ctx.lookup, bpf_sk_lookup, local_port) as u16;
    let Some(me) = Workload::of_caller(seen(&ctx)) else { return REFUSE };
    if !me.captures() {
        return PASS;
    }
    let policy = me.policy();
    let kind = pending_kind(&me, &ctx, local, remote);
    if kind == pending::BY_PORT {
        let found = to_listener(&me, &ctx, &local, ListenerGroup::Outbound4, ListenerGroup::Outbound6);
        return if found { PASS } else { no_listener(&me) };
    }
    // PREROUTING does not capture what OUTPUT has let pass.
    if is_over_lo(&local, &remote) {
        // A sidecar bound to 127.0.0.1 alone still has to be found under the addresses connections are spread over.
        if port == policy.outbound_port && is_spread(&local) {
            let _ = to_listener(&me, &ctx, &local, ListenerGroup::Outbound4, ListenerGroup::Outbound6);
        }
        return PASS;
    }
    // Over lo between the pod's own addresses. The arrival interface does not tell, it is the one that holds the address;
    // and an address that was the pod's may be somebody else's now: the client's own SYN has said so.
    let is_self_call =
        if routes::are_live() { kind == pending::SELF_CALL } else { remote == local || me.is_local(&remote) };
    if is_self_call {
        return PASS;
    }
    if policy.has(flag::GUESTS)
        && port == policy.outbound_port
        && guest::original_dst(&me, &remote, remote_port(&ctx)).is_some()
    {
        // Decided and counted where it arrived.
        let found = to_listener(&me, &ctx, &local, ListenerGroup::Outbound4, ListenerGroup::Outbound6);
        return if found { PASS } else { no_listener(&me) };
    }
    let interface = if policy.has(flag::INTERFACES) && known!(KERNEL.has_ingress_ifindex) != 0 {
        me.interface(load32!(ctx.lookup, bpf_sk_lookup, ingress_ifindex))
    } else {
        0
    };
    let verdict = ingress(&me, &Ingress { tcp: true, dst: local, dport: port, interface });
    me.count_rule(verdict.rule);
    let found = match verdict.target {
        Target::Bypass | Target::Dns => return PASS,
        Target::Inbound => to_listener(&me, &ctx, &local, ListenerGroup::Inbound4, ListenerGroup::Inbound6),
        Target::Outbound => {
            to_listener(&me, &ctx, &local, ListenerGroup::Outbound4, ListenerGroup::Outbound6)
        }
    };
    if found { PASS } else { no_listener(&me) }
}

/// What the workload's own SYN has said of this connection.
#[inline(always)]
fn pending_kind(me: &Workload, ctx: &SkLookupContext, local: Addr, remote: Addr) -> u8 {
    maps::pending_kind(&ConnectionKey {
        client: remote,
        sidecar: local,
        client_port: remote_port(ctx),
        sidecar_port: Port::new(load32!(ctx.lookup, bpf_sk_lookup, local_port) as u16),
        slot: me.slot,
    })
}

#[inline(always)]
fn no_listener(me: &Workload) -> u32 {
    me.failed(Event::NoListener);
    REFUSE
}

/// What the workload's own small program has read too (`dataplane/stub.rs`).
#[inline(always)]
fn seen(ctx: &SkLookupContext) -> [u32; 4] {
    [
        load32!(ctx.lookup, bpf_sk_lookup, remote_ip4),
        load32!(ctx.lookup, bpf_sk_lookup, remote_ip6 + 12),
        load32!(ctx.lookup, bpf_sk_lookup, remote_port),
        load32!(ctx.lookup, bpf_sk_lookup, local_port),
    ]
}

#[inline(always)]
fn remote_port(ctx: &SkLookupContext) -> Port {
    // Network order in the lower half.
    Port((load32!(ctx.lookup, bpf_sk_lookup, remote_port) as u16).to_ne_bytes())
}

/// IPv4 goes to an IPv4 listener or to an IPv6 one that takes both.
#[inline(always)]
fn to_listener(
    me: &Workload,
    ctx: &SkLookupContext,
    local: &Addr,
    v4: ListenerGroup,
    v6: ListenerGroup,
) -> bool {
    (local.is_v4() && listeners::assign(me, ctx, v4)) || listeners::assign(me, ctx, v6)
}

#[inline(always)]
fn addresses(ctx: &SkLookupContext) -> (Addr, Addr) {
    if load32!(ctx.lookup, bpf_sk_lookup, family) == u32::from(AF_INET) {
        return (
            Addr::v4(load32!(ctx.lookup, bpf_sk_lookup, local_ip4).to_ne_bytes()),
            Addr::v4(load32!(ctx.lookup, bpf_sk_lookup, remote_ip4).to_ne_bytes()),
        );
    }
    (load_addr!(ctx.lookup, bpf_sk_lookup, local_ip6), load_addr!(ctx.lookup, bpf_sk_lookup, remote_ip6))
}
