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
    verdict::Target,
    wire::route_flag,
};

use crate::{
    guest_flows::{self, Work},
    maps,
    packet::{End, Packet},
    table::{self, Maps},
};

/// Whatever else is attached to the interface decides.
const NEXT: i32 = tcx_action_base::TCX_NEXT;
const DROP: i32 = tcx_action_base::TCX_DROP;

#[classifier]
pub(crate) fn guest_in(ctx: TcContext) -> i32 {
    guest_flows::work().and_then(|work| arriving(&ctx, work)).unwrap_or(NEXT)
}

#[classifier]
pub(crate) fn guest_out(ctx: TcContext) -> i32 {
    guest_flows::work().and_then(|work| leaving(&ctx, work)).unwrap_or(NEXT)
}

/// What becomes of a packet from the guest.
enum Arrival {
    /// Not ours.
    Pass,
    /// To the sidecar, which knows the guest by this port.
    Capture(Port),
    /// Captured, but it cannot be: under iptables it does not come through either.
    Refuse,
}

/// From the guest. None: not for us.
#[inline(always)]
fn arriving(ctx: &TcContext, work: &mut Work) -> Option<i32> {
    let packet = Packet::read(ctx, &mut work.ends)?;
    let gateway = guest_flows::gateway(ctx)?;
    let arrival = if packet.is_first() {
        first(ctx, &packet, gateway, work)
    } else {
        // A connection without an entry began before we were here, or is not captured.
        guest_flows::port(&work.ends).map_or(Arrival::Pass, Arrival::Capture)
    };
    let port = match arrival {
        Arrival::Pass => return None,
        Arrival::Capture(port) => port,
        Arrival::Refuse => {
            maps::count_event(Event::GuestRefused);
            return Some(DROP);
        }
    };
    let outbound = Port::new(table::policy().outbound_port);
    let ends = &work.ends;
    let written = packet.set_addr(End::Destination, &ends.sidecar, gateway.of(packet.v4)).is_some()
        && packet.set_port(End::Destination, ends.sidecar_port, outbound).is_some()
        && packet.set_port(End::Source, ends.client_port, port).is_some();
    Some(if written { NEXT } else { DROP })
}

/// The first packet of a connection decides.
#[inline(always)]
fn first(ctx: &TcContext, packet: &Packet, gateway: &GuestGateway, work: &mut Work) -> Arrival {
    let dst = &work.ends.sidecar;
    if maps::route(dst).is_some_and(|route| route.flags & route_flag::LOCAL != 0) {
        // The listener itself may be called, from a port a flow had that is gone.
        work.seen = GuestKey { client: work.ends.client, port: work.ends.client_port, reserved: [0; 2] };
        guest_flows::forget_flow(&work.seen);
        return Arrival::Pass;
    }
    let known = guest_flows::port(&work.ends);
    let call = Ingress {
        tcp: true,
        dst: *dst,
        dport: work.ends.sidecar_port.get(),
        interface: maps::interface(guest_flows::ifindex(ctx)),
    };
    let verdict = ingress(&Maps, &call);
    if verdict.target != Target::Outbound {
        if known.is_some() {
            guest_flows::forget_port(&work.ends);
        }
        maps::count_rule(verdict.rule);
        return Arrival::Pass;
    }
    // nf_nat_redirect drops what arrives at an interface without an address.
    if gateway.of(packet.v4).is_unspecified() {
        return Arrival::Refuse;
    }
    if let Some(port) = known {
        // The SYN again, or a new connection with the ports of an old one.
        return Arrival::Capture(port);
    }
    maps::count_rule(verdict.rule);
    choose_port(packet, gateway, work).map_or(Arrival::Refuse, Arrival::Capture)
}

/// The guest's own port, unless another connection of the guest has it towards the sidecar.
#[inline(always)]
fn choose_port(packet: &Packet, gateway: &GuestGateway, work: &mut Work) -> Option<Port> {
    let outbound = Port::new(table::policy().outbound_port);
    let Work { ends, seen, flow, tuple } = work;
    *flow = GuestFlow { server: ends.sidecar, server_port: ends.sidecar_port, client_port: ends.client_port };
    seen.client = ends.client;
    seen.reserved = [0; 2];
    for n in 0..PORT_TRIES {
        let port = port_to_try(n, flow.client_port, &flow.server, flow.server_port);
        seen.port = port;
        let free = match guest_flows::flow(seen) {
            None => true,
            Some(other) if other == flow => true,
            // Whoever had it may be long gone.
            Some(_) => !packet.is_connected(tuple, (&ends.client, port), (gateway.of(packet.v4), outbound)),
        };
        if free {
            return guest_flows::remember(ends, seen, flow).then_some(port);
        }
    }
    None
}

/// To the guest: an answer of the sidecar comes from where the guest sent its question.
#[inline(always)]
fn leaving(ctx: &TcContext, work: &mut Work) -> Option<i32> {
    let packet = Packet::read(ctx, &mut work.ends)?;
    // Read as if the sidecar were the client.
    let ends = &work.ends;
    if ends.client_port != Port::new(table::policy().outbound_port)
        || ends.client != *guest_flows::gateway(ctx)?.of(packet.v4)
    {
        return None;
    }
    work.seen = GuestKey { client: ends.sidecar, port: ends.sidecar_port, reserved: [0; 2] };
    let flow = guest_flows::flow(&work.seen)?;
    let written = packet.set_addr(End::Source, &ends.client, &flow.server).is_some()
        && packet.set_port(End::Source, ends.client_port, flow.server_port).is_some()
        && packet.set_port(End::Destination, ends.sidecar_port, flow.client_port).is_some();
    Some(if written { NEXT } else { DROP })
}

/// Where a connection that reached the outbound listener from a guest wanted to go.
#[inline(always)]
pub(crate) fn original_dst(client: &Addr, port: Port) -> Option<(Addr, Port)> {
    let flow = guest_flows::flow(&GuestKey { client: *client, port, reserved: [0; 2] })?;
    Some((flow.server, flow.server_port))
}
