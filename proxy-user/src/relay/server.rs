//! The relay put together: listeners, the tasks that accept, and their end.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};
use tracing::Instrument as _;

use super::{
    access_log::AccessLog,
    args::RelayArgs,
    connection::{self, Accepted, Context},
    drain::{self, Watcher},
    listener::{self, Direction, Listener},
    original_dst::Lookup,
    upstream::Forwarding,
};

/// Out of descriptors or memory, accept(2) fails at once and again: the connections that end meanwhile cure it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A relay that is bound and not serving yet.
pub(super) struct Relay {
    listeners: Vec<Listener>,
    context: Arc<Context>,
    drain: Duration,
}

impl Relay {
    /// # Errors
    /// When an address or the access log cannot be had.
    pub(super) fn bind(args: &RelayArgs, lookup: Box<Lookup>) -> Result<Self> {
        let mut listeners = listener::bind_all(Direction::Outbound, &args.outbound)?;
        listeners.extend(listener::bind_all(Direction::Inbound, &args.inbound)?);
        let forwarding = Forwarding { mode: args.mode, declared: args.declared() };
        let log = AccessLog::open(args.access_log.as_deref())?;
        let context = Arc::new(Context { lookup, forwarding, log });
        Ok(Self { listeners, context, drain: Duration::from_secs(args.drain) })
    }

    /// What is listened on, with the ports the kernel chose.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Direction, SocketAddr)> {
        self.listeners.iter().map(|listener| (listener.direction, listener.address))
    }

    /// Serves until `stop` resolves, then until the last connection or the drain time has ended.
    pub(super) async fn serve(self, stop: impl Future<Output = ()>) {
        let (handle, watcher) = drain::channel();
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            let span = tracing::info_span!("listener", direction = listener.direction.name(), address = %listener.address);
            accepting.spawn(accept(listener, Arc::clone(&self.context), watcher.clone()).instrument(span));
        }
        stop.await;
        handle.drain();
        if timeout(self.drain, finish(&mut accepting)).await.is_err() {
            handle.cut_off();
            finish(&mut accepting).await;
        }
    }
}

/// Accepts until draining begins, and ends with the last of its connections.
async fn accept(listener: Listener, context: Arc<Context>, mut watcher: Watcher) {
    let Listener { direction, address, socket } = listener;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => {
                    let accepted = Accepted { direction, own_port: address.port(), peer, stream };
                    let (context, watcher) = (Arc::clone(&context), watcher.clone());
                    let serve = async move { connection::serve(&context, accepted, watcher).await };
                    connections.spawn(serve.instrument(tracing::info_span!("connection", %peer)));
                }
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            () = watcher.draining() => break,
        }
    }
    drop(socket);
    finish(&mut connections).await;
}

async fn finish(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!("a task of the relay failed: {error}");
    }
}
