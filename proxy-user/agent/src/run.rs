//! The agent put together: one of them on a node, the socket for the plugin, the sources, and the loop that keeps what is
//! wanted and what is in the kernel in step. Signals, the log's form and the metrics are the caller's.

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use proxy_plane::cgroup;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    agent::Agent,
    cgroup_of::Cgroups,
    gate::{self, Gate},
    pod::{Complete, Pod},
    single::Single,
    static_file,
    values::Values,
};

/// Beside the plugin's socket: the agent was ready once since the machine started.
const READY: &str = "ready";

/// How the agent runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the plugin asks; its directory has the agent's lock too.
    pub socket: PathBuf,
    pub values: Values,
    /// kubelet's.
    pub cgroup_root: String,
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
    every: Duration,
    ready: PathBuf,
    _single: Single,
}

/// Who tells which pods there are.
struct Sources {
    files: Vec<PathBuf>,
    mount: PathBuf,
    values: Values,
}

/// # Errors
/// When another agent runs, when the kernel or the caller lacks something, when the socket is taken. Nothing has changed
/// then.
pub fn start(options: Options) -> Result<Started> {
    let directory = options.socket.parent().unwrap_or(Path::new("/")).to_owned();
    gate::make_private(&directory)?;
    let single = Single::take(&directory)?;
    let mount = cgroup::mount_point()?;
    let sources = Sources { files: options.files, mount: mount.clone(), values: options.values.clone() };
    // A file that cannot be read is said before anything is done by the others.
    sources.pods()?;
    let cgroups = Cgroups::new(mount, &options.cgroup_root);
    let agent = Arc::new(Agent::open(options.values, cgroups, false)?);
    let gate = Gate::bind(&options.socket)?;
    Ok(Started { agent, gate, sources, every: options.every, ready: directory.join(READY), _single: single })
}

impl Started {
    /// Until `stop` resolves. What is enrolled stays.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let serve = self.gate.serve(self.agent.clone());
        let follow = follow(self.agent.clone(), self.sources, self.every, self.ready);
        tokio::select! {
            () = stop => Ok(()),
            () = serve => Ok(()),
            never = follow => match never {},
        }
    }
}

async fn follow(
    agent: Arc<Agent>,
    sources: Sources,
    every: Duration,
    ready: PathBuf,
) -> std::convert::Infallible {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = None;
    loop {
        ticks.tick().await;
        let told = sources.pods();
        let here = agent.clone();
        let done = match told {
            Ok(pods) => {
                tokio::task::spawn_blocking(move || {
                    here.reconcile(pods, Complete { files: true, runtime: false })
                })
                .await
            }
            Err(error) => Ok(Err(error)),
        };
        let error = match done {
            Ok(done) => done.err().map(|error| format!("{error:#}")),
            Err(error) => Some(error.to_string()),
        };
        // Said once, and when it is over.
        match (&error, &trouble) {
            (Some(error), before) if before.as_ref() != Some(error) => tracing::warn!("{error}"),
            (None, Some(_)) => tracing::info!("all sources are heard again"),
            _ => {}
        }
        trouble = error;
        if agent.report().ready().is_ok() && !ready.exists() {
            let marked = fs::write(&ready, "").with_context(|| format!("write {}", ready.display()));
            if let Err(error) = marked {
                tracing::warn!("{error:#}");
            }
        }
    }
}

impl Sources {
    fn pods(&self) -> Result<Vec<Pod>> {
        let mut pods = Vec::new();
        for path in &self.files {
            pods.extend(static_file::read(path, &self.mount, &self.values)?);
        }
        Ok(pods)
    }
}
