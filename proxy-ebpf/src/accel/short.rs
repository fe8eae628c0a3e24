//! Connections too short to gain by the map. The clients of each workload remember it of the servers they call.

use proxy_common::{
    accel::{Connections, EndKey, LONG, Record, ServerAt, direction_bit},
    addr::{Addr, Port},
};

use super::maps;
use crate::{clock::now, workload::Workload};

/// Whether the workload's next connection to this server stays out.
#[inline(always)]
pub(super) fn skips_next(me: &Workload, remote: &Addr, remote_port: Port) -> bool {
    maps::server(ServerAt::connections(me.slot, remote, remote_port))
        .is_some_and(|server| server.skips_next(now()))
}

/// Whether the clients of another workload, in this slot, stay out because their connections to this server are short. The
/// server's end looks: to be told of each connection would cost more than it carries.
#[inline(always)]
pub(crate) fn is_skipped(slot: u32, local: &Addr, local_port: Port) -> bool {
    maps::server(ServerAt::connections(slot, local, local_port)).is_some_and(|server| server.skips(now()))
}

/// A connection in the map ends. The client tells: what the server answers in one piece is the same conversation.
#[inline(always)]
pub(super) fn ended(me: &Workload, record: &Record) {
    if record.direction.bits & direction_bit::SERVER == 0
        && record.direction.sent < LONG
        && let Some(server) = maps::server_or_new(server_of(me, record))
    {
        server.was_short(now());
    }
}

/// This end has just sent as many messages as a long connection does.
#[inline(always)]
pub(super) fn long(record: &Record) {
    if let Some(me) = Workload::at(record.slot)
        && let Some(server) = maps::server(server_of(&me, record))
    {
        server.is_long();
    }
}

/// Where the client of this connection remembers how long its server's are.
#[inline(always)]
fn server_of(me: &Workload, record: &Record) -> ServerAt<Connections> {
    let EndKey { local, remote, local_port, remote_port, .. } = record.own;
    if record.direction.bits & direction_bit::SERVER == 0 {
        ServerAt::connections(me.slot, &remote, remote_port)
    } else {
        ServerAt::connections(me.slot, &local, local_port)
    }
}
