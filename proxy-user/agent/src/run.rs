//! The agent put together: one of them on a node, the socket for the plugin, the sources, and the loop that keeps what is
//! wanted and what is in the kernel in step. Signals, the log's form and the metrics are the caller's.

use std::{
    collections::BTreeMap,
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
    cri::{Runtime, State},
    gate::Gate,
    plugin::{Install, Keeper},
    pod::{Complete, Pod},
    single::Single,
    static_file,
    values::Values,
};

/// How the agent runs.
#[derive(Debug)]
pub struct Options {
    /// Where the plugin asks; its directory has the agent's lock too.
    pub socket: PathBuf,
    pub values: Values,
    /// kubelet's.
    pub cgroup_root: String,
    /// None: no container runtime is asked.
    pub runtime: Option<Runtime>,
    /// None: whoever has chained the plugin looks after it.
    pub install: Option<Install>,
    /// Files that list workloads.
    pub files: Vec<PathBuf>,
    /// Between two looks at the sources.
    pub every: Duration,
}

/// Started: it answers nobody yet.
pub struct Started {
    pub agent: Arc<Agent>,
    gate: Gate,
    sources: Sources,
    plugin: Option<Keeper>,
    every: Duration,
    ready: PathBuf,
    _single: Single,
}

/// Who tells which pods there are.
struct Sources {
    runtime: Option<Runtime>,
    files: Vec<PathBuf>,
    mount: PathBuf,
    values: Values,
}

/// # Errors
/// When another agent runs, when the kernel or the caller lacks something, when the socket is taken. Nothing has changed
/// then.
pub fn start(options: Options) -> Result<Started> {
    let directory = options.socket.parent().unwrap_or(Path::new("/")).to_owned();
    let single = Single::take(&directory)?;
    let mount = cgroup::mount_point()?;
    let has_runtime = options.runtime.is_some();
    let sources = Sources {
        runtime: options.runtime,
        files: options.files,
        mount: mount.clone(),
        values: options.values.clone(),
    };
    // A file that cannot be read is said before anything is done by the others.
    sources.of_files()?;
    let cgroups = PodCgroups::below(&mount, Some(&options.cgroup_root))?;
    let agent = Arc::new(Agent::open(options.values, cgroups, has_runtime)?);
    // The first pod does not wait for it; one that needs others waits.
    if let Err(error) = agent.warm() {
        tracing::warn!("the programs could not be loaded ahead: {error:#}");
    }
    let gate = Gate::bind(&options.socket)?;
    let plugin = options.install.map(Keeper::new);
    Ok(Started {
        agent,
        gate,
        sources,
        plugin,
        every: options.every,
        ready: ready_marker(&options.socket),
        _single: single,
    })
}

impl Started {
    /// Until `stop` resolves. What is enrolled stays.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let serve = self.gate.serve(self.agent.clone());
        let follow = follow(self.agent.clone(), self.sources, self.plugin, self.every, self.ready);
        tokio::select! {
            () = stop => Ok(()),
            () = serve => Ok(()),
            never = follow => match never {},
        }
    }
}

/// Looks, and has the agent do what is to be done, until the end of the process.
async fn follow(
    agent: Arc<Agent>,
    mut sources: Sources,
    mut plugin: Option<Keeper>,
    every: Duration,
    ready: PathBuf,
) -> Infallible {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let hint = sources.runtime.as_ref().map(Runtime::look_now);
    let mut said = Said::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = async { match &hint { Some(hint) => hint.notified().await, None => pending().await } } => {}
        }
        let told = sources.look().await;
        said.about("container runtime", told.away);
        said.about("--static", told.wrong_file);
        let here = agent.clone();
        let work = move || here.reconcile(told.pods, told.complete);
        let done = tokio::task::spawn_blocking(work).await;
        let error = match done {
            Ok(done) => done.err().map(|error| format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        };
        said.about("kernel", error);
        if let Some(keeper) = &mut plugin {
            let plugin = keeper.step(sources.runtime.as_mut()).await;
            said.about("CNI plugin", plugin.missing.clone());
            agent.set_plugin(plugin);
        }
        if !ready.exists() && agent.report().ready().is_ok() {
            let marked = fs::write(&ready, "").with_context(|| format!("write {}", ready.display()));
            said.about("mark", marked.err().map(|error| format!("{error:#}")));
        }
    }
}

/// What the sources tell at one moment.
struct Told {
    pods: Vec<Pod>,
    complete: Complete,
    away: Option<String>,
    wrong_file: Option<String>,
}

impl Sources {
    async fn look(&mut self) -> Told {
        let mut told = Told { pods: Vec::new(), complete: Complete::default(), away: None, wrong_file: None };
        if let Some(runtime) = &mut self.runtime {
            match runtime.pods().await {
                Ok(seen) => {
                    let ready = seen.sandboxes.into_iter().filter(|sandbox| sandbox.state == State::Ready);
                    told.pods.extend(ready.map(|sandbox| sandbox.pod));
                    // Of a sandbox that is not understood nothing is known, not even that it is gone.
                    told.complete.runtime = seen.unclear.is_empty();
                    told.away = seen.unclear.split_first().map(|(one, more)| {
                        format!("sandbox of {}: {} (and {} more)", one.name, one.reason, more.len())
                    });
                }
                Err(away) => told.away = Some(away.to_string()),
            }
        }
        match self.of_files() {
            Ok(pods) => {
                told.pods.extend(pods);
                told.complete.files = true;
            }
            Err(error) => told.wrong_file = Some(format!("{error:#}")),
        }
        told
    }

    fn of_files(&self) -> Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for path in &self.files {
            pods.extend(static_file::read(path, &self.mount, &self.values)?);
        }
        Ok(pods)
    }
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
