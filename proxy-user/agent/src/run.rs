//! The agent put together: one of them on a node, the socket for the plugin, the sources, and the loop that keeps what is
//! wanted and what is in the kernel in step. Signals, the log's form and the metrics are the caller's.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    future::{Future, pending},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use proxy_cni::entry::ready_marker;
use proxy_plane::cgroup;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    agent::Agent,
    cgroup_of::PodCgroups,
    cri::Runtime,
    gate::Gate,
    network_watch::NetworkWatch,
    plugin::{Install, Keeper, Plugin},
    single::Single,
    sources::{Looking, Sources},
};

/// How the agent runs.
#[derive(Debug)]
pub struct Options {
    /// Where the plugin asks; its directory has the agent's lock too.
    pub socket: PathBuf,
    pub sources: Sources,
    /// kubelet's.
    pub cgroup_root: String,
    /// None: whoever has chained the plugin looks after it.
    pub install: Option<Install>,
    /// Between two looks at the sources.
    pub every: Duration,
}

/// Started: it answers nobody yet.
pub struct Started {
    pub agent: Arc<Agent>,
    gate: Gate,
    follower: Follower,
    every: Duration,
    _single: Single,
}

/// # Errors
/// When another agent runs, when the kernel or the caller lacks something, when the socket is taken, when a file cannot be
/// read. Nothing has changed then.
pub fn start(options: Options) -> Result<Started> {
    let directory = options.socket.parent().unwrap_or(Path::new("/")).to_owned();
    let single = Single::take(&directory)?;
    let mount = cgroup::mount_point()?;
    let has_runtime = options.sources.runtime.is_some();
    let sources = Looking::begin(options.sources, &mount)?;
    let cgroups = PodCgroups::below(&mount, Some(&options.cgroup_root))?;
    let plugin = options.install.as_ref().map(|_| Plugin::unknown());
    let agent = Arc::new(Agent::open(sources.values().clone(), cgroups, has_runtime, plugin)?);
    // The first pod does not wait for it; one that needs others waits.
    if let Err(error) = agent.warm() {
        tracing::warn!("the programs could not be loaded ahead: {error:#}");
    }
    let gate = Gate::bind(&options.socket)?;
    let follower = Follower {
        agent: agent.clone(),
        sources,
        plugin: options.install.map(Keeper::new),
        ready: ready_marker(&options.socket),
        network: NetworkWatch::default(),
        said: Said::default(),
    };
    Ok(Started { agent, gate, follower, every: options.every, _single: single })
}

impl Started {
    /// Until `stop` resolves. What is enrolled stays.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let serve = self.gate.serve(self.agent);
        tokio::select! {
            () = stop => Ok(()),
            () = serve => Ok(()),
            never = self.follower.follow(self.every) => match never {},
        }
    }
}

/// Has the agent do what is to be done by what is told.
struct Follower {
    agent: Arc<Agent>,
    sources: Looking,
    plugin: Option<Keeper>,
    ready: PathBuf,
    network: NetworkWatch,
    said: Said,
}

impl Follower {
    /// Until the end of the process.
    async fn follow(mut self, every: Duration) -> Infallible {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let hint = self.sources.runtime.as_ref().map(Runtime::look_now);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look().await,
                () = async { match &hint { Some(hint) => hint.notified().await, None => pending().await } } => {
                    self.look().await;
                }
                () = self.agent.told() => self.watch().await,
                changed = self.network.changed() => self.refresh(changed).await,
            }
        }
    }

    async fn look(&mut self) {
        let told = self.sources.look().await;
        for (source, wrong) in told.wrong {
            self.said.about(source, wrong);
        }
        if let Some(keeper) = &mut self.plugin {
            keeper.set_waits_for(&told.values.waits_for);
        }
        let agent = self.agent.clone();
        let done = apart(move || {
            agent.set_values(told.values);
            agent.reconcile(told.pods, told.complete)
        });
        let done = done.await;
        let is_settled = matches!(done, Ok(false));
        self.said.about("kernel", done.err().map(|error| format!("{error:#}")));
        if !is_settled {
            self.watch().await;
        }
        if let Some(keeper) = &mut self.plugin {
            let plugin = keeper.step(self.sources.runtime.as_mut()).await;
            self.said.about("CNI plugin", plugin.missing.clone());
            self.agent.set_plugin(plugin);
        }
        if !self.ready.exists() && self.agent.report().ready().is_ok() {
            let marked =
                fs::write(&self.ready, "").with_context(|| format!("write {}", self.ready.display()));
            self.said.about("mark", marked.err().map(|error| format!("{error:#}")));
        }
    }

    /// The networks of those that are enrolled now, and no others.
    async fn watch(&mut self) {
        let new = self.network.keep(&self.agent.networks());
        self.refresh(new).await;
    }

    async fn refresh(&mut self, workloads: BTreeSet<String>) {
        if workloads.is_empty() {
            return;
        }
        let agent = self.agent.clone();
        let done = apart(move || {
            agent.refresh(&workloads);
            Ok(())
        });
        self.said.about("network", done.await.err().map(|error| format!("{error:#}")));
    }
}

/// What takes its time does not keep the plugin waiting.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// What is wrong is said once, and when it is over.
#[derive(Default)]
struct Said(BTreeMap<&'static str, String>);

impl Said {
    fn about(&mut self, what: &'static str, error: Option<String>) {
        match error {
            Some(error) if self.0.get(what) != Some(&error) => {
                tracing::warn!("{error}");
                self.0.insert(what, error);
            }
            None if self.0.remove(what).is_some() => tracing::info!("{what}: as it should be again"),
            _ => {}
        }
    }
}
