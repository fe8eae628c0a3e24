//! The hooks a first packet passes, in the kernel's order of priorities: raw, conntrack, mangle, nat.

use super::{
    packet::Packet,
    ruleset::{Line, Ruleset},
    walk::{End, Walk, walk},
};

/// Where the packet ends up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Where it was sent to.
    Untouched,
    /// At this port of this host.
    Port(u16),
    Dropped,
}

/// What happened to a packet and which rules did it: see `Walk::decided_by`.
#[derive(Clone, Debug)]
pub struct Journey {
    pub fate: Fate,
    pub nat: Vec<Line>,
    pub mangle: Vec<Line>,
    /// The packet as it was delivered or sent.
    pub packet: Packet,
}

/// A local process sends. `packet.out_interface` is what the route says.
pub fn locally_generated(ruleset: &Ruleset, mut packet: Packet) -> Journey {
    walk(ruleset, "raw", "OUTPUT", &mut packet);
    let mangle = walk(ruleset, "mangle", "OUTPUT", &mut packet);
    if mangle.end == End::Drop {
        return dropped(packet, mangle.decided_by);
    }
    let nat = walk(ruleset, "nat", "OUTPUT", &mut packet);
    let mut fate = Fate::Untouched;
    if let End::Redirect(port) = nat.end {
        (packet.dst, packet.dport) = (packet.loopback(), port);
        packet.out_interface = Some("lo".into());
        fate = Fate::Port(port);
    }
    if packet.out_interface.as_deref() != Some("lo") {
        return Journey { fate, nat: nat.decided_by, mangle: Vec::new(), packet };
    }
    // It comes back through lo with its mark and its conntrack entry. That entry's destination is settled
    // (nf_nat_core.c: nf_nat_initialized), so nat PREROUTING is not asked.
    (packet.in_interface, packet.out_interface, packet.owner) = (Some("lo".into()), None, None);
    walk(ruleset, "raw", "PREROUTING", &mut packet);
    let mangle = walk(ruleset, "mangle", "PREROUTING", &mut packet);
    match mangle.end {
        End::Drop => return dropped(packet, mangle.decided_by),
        End::Tproxy(port) => fate = Fate::Port(port),
        End::Accept | End::Redirect(_) => {}
    }
    Journey { fate, nat: nat.decided_by, mangle: mangle.decided_by, packet }
}

/// A packet comes in by `packet.in_interface`, which is not lo.
pub fn arriving(ruleset: &Ruleset, mut packet: Packet) -> Journey {
    walk(ruleset, "raw", "PREROUTING", &mut packet);
    let mangle = walk(ruleset, "mangle", "PREROUTING", &mut packet);
    if mangle.end == End::Drop {
        return dropped(packet, mangle.decided_by);
    }
    let nat: Walk = walk(ruleset, "nat", "PREROUTING", &mut packet);
    // TPROXY has put the socket into the packet (nf_tproxy.h: nf_tproxy_assign_sock); that nat rewrites the
    // destination afterwards does not change who gets it.
    let fate = match (mangle.end, nat.end) {
        (End::Tproxy(port), _) | (_, End::Redirect(port)) => Fate::Port(port),
        _ => Fate::Untouched,
    };
    Journey { fate, nat: nat.decided_by, mangle: mangle.decided_by, packet }
}

fn dropped(packet: Packet, mangle: Vec<Line>) -> Journey {
    Journey { fate: Fate::Dropped, nat: Vec::new(), mangle, packet }
}
