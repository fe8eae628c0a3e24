//! Put together: what is bound, what is held while it runs, and its end.

use std::{future::Future, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use proxy_core::exit::{Class, Failure};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};

use super::{program_log::ProgramLog, routes, snapshot::Reader};

/// How to serve.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Have the kernel count runs and time of BPF programs meanwhile.
    pub program_stats: bool,
    /// How long requests under way may still take once it is told to stop.
    pub drain: Duration,
}

/// Bound, and not serving yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    reader: Arc<Reader>,
    drain: Duration,
    /// The kernel counts as long as this is open.
    _program_stats: Option<OwnedFd>,
}

/// # Errors
/// When the address is taken, when the pins cannot be read, when the kernel does not count; nothing runs then.
pub async fn bind(options: &Options) -> Result<Server> {
    let Options { listen, program_stats, drain } = *options;
    let listener = TcpListener::bind(listen).await.map_err(|error| cannot_listen(listen, &error))?;
    let address = listener.local_addr().context("the address that was bound")?;
    let reader = Arc::new(Reader::default());
    // What cannot be read now is said now, to the one who started it.
    reader.read().context("read the attached workloads")?;
    let program_stats = program_stats
        .then(|| enable_stats(Stats::RunTime))
        .transpose()
        .context("--program-stats: the kernel does not count (Linux 5.8, CAP_SYS_ADMIN); leave it out")?;
    Ok(Server { listener, address, reader, drain, _program_stats: program_stats })
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves, and passes on what the BPF programs say, until `stop` resolves.
    ///
    /// # Errors
    /// When connections can no longer be accepted.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut log = ProgramLog::default();
        let ended = tokio::select! {
            ended = self.serve(stop) => ended,
            never = log.follow() => match never {},
        };
        log.pass_on();
        ended
    }

    async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let drain = self.drain;
        let (stopped, was_stopped) = oneshot::channel();
        let stop = async move {
            stop.await;
            let _ = stopped.send(());
        };
        let server = axum::serve(self.listener, routes::all(self.reader)).with_graceful_shutdown(stop);
        let mut server = std::pin::pin!(server.into_future());
        tokio::select! {
            ended = &mut server => return ended.context("serve"),
            _ = was_stopped => {}
        }
        match timeout(drain, server).await {
            Ok(ended) => ended.context("serve"),
            // Said, but no failure: who holds a request open longer has been told how long it may.
            Err(_) => {
                tracing::warn!("requests were still open after {} s", drain.as_secs());
                Ok(())
            }
        }
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let next = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "somebody else listens there (`ss -ltnp`); stop it, or choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "this host has no such address; choose another with --listen",
        _ => "choose another address with --listen",
    };
    let class =
        if error.kind() == io::ErrorKind::PermissionDenied { Class::Permission } else { Class::Unavailable };
    Failure::error(class, format!("listen on {address}: {error}; {next}"))
}
