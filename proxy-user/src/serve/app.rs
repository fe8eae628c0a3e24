//! Put together: what is bound, what is held while it runs, and its end.

use std::{future::Future, io, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};
use proxy_agent::agent::Agent;
use proxy_plane::dataplane;
use tokio::time::{sleep, timeout};

use super::{
    closed::Closed,
    connections::Connections,
    flow_log::{Counts, FlowLog},
    hosts::Hosts,
    judging,
    listen::{Listen, Listener, Stream},
    program_log::ProgramLog,
    routes,
    snapshot::{Besides, Reader},
    stuck,
};

/// Out of descriptors, and the like: the next one may fail at once.
const PAUSE: Duration = Duration::from_millis(100);

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: Listen,
    /// Where metrics and readiness are as well, and nothing else.
    pub listen_metrics: Option<Listen>,
    /// Names of this server besides its addresses and localhost, as clients say them.
    pub hosts: Vec<String>,
    /// Have the kernel count runs and time of BPF programs meanwhile.
    pub program_stats: bool,
    /// How long requests under way may still take once it is told to stop.
    pub drain: Duration,
    /// A record of each connection when it has ended.
    pub flow_log: Option<FlowLog>,
    /// For how long bytes wait at a connection before it counts as stuck.
    pub stuck_after: Duration,
    /// The agent whose server it is: what it knows is served too, and ready means that it is.
    pub agent: Option<Arc<Agent>>,
}

/// Bound, and not serving yet.
pub struct Server {
    whole: Door,
    metrics: Option<Door>,
    reader: Arc<Reader>,
    closed: Closed,
    stuck: stuck::Found,
    stuck_after: Duration,
    drain: Duration,
    /// The kernel counts as long as this is open.
    _program_stats: Option<OwnedFd>,
}

/// One place where it listens.
struct Door {
    listener: Listener,
    url: String,
    /// None: who may connect to a unix socket is no web page.
    hosts: Option<Hosts>,
}

impl Door {
    async fn bind(listen: &Listen, names: &[String]) -> Result<Self> {
        let listener = Listener::bind(listen).await?;
        let url = listener.url().context("the address that was bound")?;
        let hosts = match &listener {
            Listener::Tcp(_) => Some(Hosts::and(names)),
            Listener::Unix(..) => None,
        };
        Ok(Self { listener, url, hosts })
    }
}

/// # Errors
/// When the address is taken, when the pins cannot be read, when the kernel does not count; nothing runs then.
pub async fn bind(options: &Options) -> Result<Server> {
    // What cannot be read, now or later, is said now, to the one who started it.
    dataplane::check_reading()?;
    let counts = Arc::<Counts>::default();
    let besides = Besides {
        agent: options.agent.clone(),
        flow_log: options.flow_log.is_some().then(|| Arc::clone(&counts)),
        ..Besides::default()
    };
    let reader = Arc::new(Reader::of(besides.clone()));
    reader.read().context("read the attached workloads")?;
    let whole = Door::bind(&options.listen, &options.hosts).await?;
    let metrics = match &options.listen_metrics {
        Some(listen) => Some(Door::bind(listen, &options.hosts).await?),
        None => None,
    };
    let program_stats = options
        .program_stats
        .then(|| enable_stats(Stats::RunTime))
        .transpose()
        .context("--program-stats: the kernel does not count (Linux 5.8, CAP_SYS_ADMIN); leave it out")?;
    let closed = Closed::new(besides.around, options.flow_log.as_ref(), &counts)?;
    Ok(Server {
        whole,
        metrics,
        reader,
        closed,
        stuck: besides.stuck,
        stuck_after: options.stuck_after,
        drain: options.drain,
        _program_stats: program_stats,
    })
}

impl Server {
    /// Where it listens, a line for each place: `listening http://127.0.0.1:15095`, `listening
    /// unix:/run/sidestep.sock`, behind it the one of metrics and readiness.
    pub fn said(&self) -> String {
        let mut lines = format!("listening {}\n", self.whole.url);
        if let Some(metrics) = &self.metrics {
            lines += &format!("metrics {}\n", metrics.url);
        }
        lines
    }

    /// Serves, and passes on what the BPF programs say, until `stop` resolves.
    ///
    /// # Errors
    /// When connections can no longer be accepted.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut log = ProgramLog::default();
        let stuck = stuck::follow(self.stuck.clone(), self.stuck_after);
        let (closed, drain) = (self.closed.clone(), self.drain);
        let ended = tokio::select! {
            ended = self.serve(stop) => ended,
            never = log.follow() => match never {},
            never = stuck => match never {},
            never = judging::follow() => match never {},
            never = closed.follow() => match never {},
        };
        log.pass_on();
        closed.finish(drain).await;
        ended
    }

    async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut whole = Connections::of(routes::all(Arc::clone(&self.reader), self.whole.hosts));
        let (listener, hosts) = self.metrics.map(|door| (door.listener, door.hosts)).unzip();
        // Its own connections: who fills the one place does not close the other's.
        let mut metrics = Connections::of(routes::of_machines(self.reader, hosts.flatten()));
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.whole.listener.accept() => admit(&mut whole, accepted).await,
                accepted = accept(listener.as_ref()) => admit(&mut metrics, accepted).await,
            }
        }
        // Nobody new gets in while the rest is answered.
        drop((self.whole.listener, listener));
        let drain = async { tokio::join!(whole.drain(), metrics.drain()) };
        if timeout(self.drain, drain).await.is_err() {
            // Said, but no failure: who holds a request open longer has been told how long it may.
            tracing::warn!("requests were still open after {} s", self.drain.as_secs());
        }
        Ok(())
    }
}

/// Nobody ever comes where nothing listens.
async fn accept(listener: Option<&Listener>) -> io::Result<Stream> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn admit(connections: &mut Connections, accepted: io::Result<Stream>) {
    match accepted {
        Ok(stream) => connections.add(stream),
        Err(error) if is_of_one(&error) => {}
        Err(error) => {
            tracing::warn!("a connection could not be accepted: {error}");
            sleep(PAUSE).await;
        }
    }
}

/// An error of a connection that is gone already (accept(2)).
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
