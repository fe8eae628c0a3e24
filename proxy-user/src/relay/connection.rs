//! The life of one captured connection.

use std::{io, net::SocketAddr, sync::atomic::Ordering};

use tokio::net::TcpStream;

use super::{
    access_log::{AccessLog, Entry},
    drain::Watcher,
    listener::Direction,
    original_dst::Lookup,
    pump::{self, Carried},
    upstream::{self, Forwarding, Route},
};

/// What all connections of a relay share.
pub(super) struct Context {
    pub(super) lookup: Box<Lookup>,
    pub(super) forwarding: Forwarding,
    pub(super) log: AccessLog,
}

/// An accepted connection and the listener it came through.
pub(super) struct Accepted {
    pub(super) direction: Direction,
    pub(super) own_port: u16,
    pub(super) peer: SocketAddr,
    pub(super) stream: TcpStream,
}

/// Forwards `accepted` until both sides have ended or draining is over, and logs it.
pub(super) async fn serve(context: &Context, accepted: Accepted, mut watcher: Watcher) {
    let Accepted { direction, own_port, peer, mut stream } = accepted;
    let mut entry = Entry::new(direction, peer);
    entry.downstream_direct_local = stream.local_addr().ok();
    let carried = Carried::default();
    let outcome = tokio::select! {
        outcome = forward(context, own_port, &mut stream, &mut entry, &carried) => outcome,
        () = watcher.cutoff() => Err(io::Error::other("the relay stopped")),
    };
    entry.bytes_received = carried.received.load(Ordering::Relaxed);
    entry.bytes_sent = carried.sent.load(Ordering::Relaxed);
    entry.failure = outcome.err().map(|error| error.to_string());
    context.log.write(&entry);
}

async fn forward(
    context: &Context,
    own_port: u16,
    downstream: &mut TcpStream,
    entry: &mut Entry,
    carried: &Carried,
) -> io::Result<()> {
    downstream.set_nodelay(true)?;
    let original = (context.lookup)(downstream)?;
    entry.downstream_local = Some(original.0);
    match context.forwarding.route(entry.direction, own_port, original) {
        Route::Blackhole => Err(io::Error::other("addressed to the relay itself")),
        Route::Connect { to, from } => {
            entry.upstream_host = Some(to);
            let mut upstream = upstream::connect(to, from).await?;
            entry.upstream_local = upstream.local_addr().ok();
            pump::both_ways(downstream, &mut upstream, carried).await
        }
    }
}
