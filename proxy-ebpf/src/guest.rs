//! tc programs on the interface of a virtual machine: connections the guest makes to others than the pod go to the
//! sidecar's outbound listener. What it sends to the pod's own addresses is delivered, and sk_lookup's to decide.
//!
//! The only place where packets are rewritten: a forwarded packet has no socket on this host to be rewritten instead.
#![allow(unsafe_code, reason = "the entry points are exported by name")]

use aya_ebpf::{bindings::tcx_action_base, macros::classifier, programs::TcContext};
use proxy_common::{
    addr::{Addr, Port},
    counter::Event,
    guest::{GuestFlow, GuestGateway, GuestKey, PORT_TRIES, port_to_try},
    ingress::{Ingress, ingress},
    policy::Table as _,
    verdict::Target,
};

use crate::{
    guest_flows::{self, Work},
    packet::{Packet, Side},
    workload::Workload,
};

/// Whatever else is attached to the interface decides.
const NEXT: i32 = tcx_action_base::TCX_NEXT;
const DROP: i32 = tcx_action_base::TCX_DROP;

#[classifier]
pub(crate) fn guest_in(ctx: TcContext) -> i32 {
    run(&ctx, arriving)
}

#[classifier]
pub(crate) fn guest_out(ctx: TcContext) -> i32 {
    run(&ctx, leaving)
}

#[inline(always)]
fn run(ctx: &TcContext, program: impl FnOnce(&Workload, &TcContext, &mut Work) -> Option<i32>) -> i32 {
    Workload::of_caller([0; 4])
        .filter(Workload::captures)
        .and_then(|me| program(&me, ctx, guest_flows::work(&me)?))
        .unwrap_or(NEXT)
}

/// What becomes of a packet from the guest.
enum Arrival {
    /// The packet is left as it is.
    Pass,
    /// The packet goes to the sidecar, which knows the guest by this port.
    Capture(Port),
    /// Captured, but it cannot be: under iptables it does not come through either.
    Refuse,
}

/// A packet from the guest. None: the program leaves it as it is.
#[inline(always)]
fn arriving(me: &Workload, ctx: &TcContext, work: &mut Work) -> Option<i32> {
    let packet = Packet::read(ctx, &mut work.ends)?;
    let gateway = guest_flows::gateway(me, ctx)?;
    let arrival = if packet.is_first() {
        first(me, ctx, &packet, gateway, work)
    } else {
        // A connection without an entry began before we were here, or is not captured.
        guest_flows::port(&work.ends).map_or(Arrival::Pass, Arrival::Capture)
    };
    let port = match arrival {
        Arrival::Pass => return None,
        Arrival::Capture(port) => port,
        Arrival::Refuse => {
            me.count_event(Event::GuestRefused);
            return Some(DROP);
        }
    };
    let outbound = Port::new(me.policy().outbound_port);
    let ends = &work.ends;
    let written = packet.set_addr(Side::Destination, &ends.sidecar, gateway.of(packet.v4)).is_some()
        && packet.set_port(Side::Destination, ends.sidecar_port, outbound).is_some()
        && packet.set_port(Side::Source, ends.client_port, port).is_some();
    Some(if written { NEXT } else { DROP })
}

/// The first packet of a connection decides.
#[inline(always)]
fn first(
    me: &Workload,
    ctx: &TcContext,
    packet: &Packet,
    gateway: &GuestGateway,
    work: &mut Work,
) -> Arrival {
    let dst = &work.ends.sidecar;
    if me.is_local(dst) {
        // The listener itself may be called, from a port a flow had that is gone.
        work.seen = key(me, work.ends.client, work.ends.client_port);
        guest_flows::forget_flow(&work.seen);
        return Arrival::Pass;
    }
    let known = guest_flows::port(&work.ends);
    let call = Ingress {
        tcp: true,
        dst: *dst,
        dport: work.ends.sidecar_port.get(),
        interface: me.interface(guest_flows::ifindex(ctx)),
    };
    let verdict = ingress(me, &call);
    if verdict.target != Target::Outbound {
        if known.is_some() {
            guest_flows::forget_port(&work.ends);
        }
        me.count_rule(verdict.rule);
        return Arrival::Pass;
    }
    // nf_nat_redirect drops what arrives at an interface without an address.
    if gateway.of(packet.v4).is_unspecified() {
        return Arrival::Refuse;
    }
    let Work { ends, seen, flow, .. } = work;
    *flow = GuestFlow { server: ends.sidecar, server_port: ends.sidecar_port, client_port: ends.client_port };
    *seen = key(me, ends.client, flow.client_port);
    if let Some(port) = known {
        // The SYN again, or a new connection with the ports of an old one. Another connection may have got its port since: an
        // answer would go there.
        seen.port = port;
        if guest_flows::flow(seen).is_some_and(|known| known == flow) {
            return Arrival::Capture(port);
        }
    }
    me.count_rule(verdict.rule);
    choose_port(me, packet, gateway, work).map_or(Arrival::Refuse, Arrival::Capture)
}

/// The guest's own port, unless another connection of the guest has it towards the sidecar. For `flow`, of `seen`.
#[inline(always)]
fn choose_port(me: &Workload, packet: &Packet, gateway: &GuestGateway, work: &mut Work) -> Option<Port> {
    let outbound = Port::new(me.policy().outbound_port);
    let Work { ends, seen, flow, tuple } = work;
    for n in 0..PORT_TRIES {
        let port = port_to_try(n, flow.client_port, &flow.server, flow.server_port);
        seen.port = port;
        let free = match guest_flows::flow(seen) {
            None => true,
            Some(other) if other == flow => true,
            // The connection that had it may be over.
            Some(_) => !packet.is_connected(tuple, (&ends.client, port), (gateway.of(packet.v4), outbound)),
        };
        if free {
            return guest_flows::remember(ends, seen, flow).then_some(port);
        }
    }
    None
}

/// A packet to the guest. An answer of the sidecar comes from where the guest sent its question.
#[inline(always)]
fn leaving(me: &Workload, ctx: &TcContext, work: &mut Work) -> Option<i32> {
    let packet = Packet::read(ctx, &mut work.ends)?;
    // Read as if the sidecar were the client.
    let ends = &work.ends;
    if ends.client_port != Port::new(me.policy().outbound_port)
        || ends.client != *guest_flows::gateway(me, ctx)?.of(packet.v4)
    {
        return None;
    }
    work.seen = key(me, ends.sidecar, ends.sidecar_port);
    let flow = guest_flows::flow(&work.seen)?;
    let written = packet.set_addr(Side::Source, &ends.client, &flow.server).is_some()
        && packet.set_port(Side::Source, ends.client_port, flow.server_port).is_some()
        && packet.set_port(Side::Destination, ends.sidecar_port, flow.client_port).is_some();
    Some(if written { NEXT } else { DROP })
}

#[inline(always)]
fn key(me: &Workload, client: Addr, port: Port) -> GuestKey {
    GuestKey { client, port, reserved: [0; 2], slot: me.slot }
}

/// Where a connection that reached the outbound listener from a guest wanted to go.
#[inline(always)]
pub(crate) fn original_dst(me: &Workload, client: &Addr, port: Port) -> Option<(Addr, Port)> {
    let flow = guest_flows::flow(&key(me, *client, port))?;
    Some((flow.server, flow.server_port))
}
