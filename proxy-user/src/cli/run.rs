//! `sidestep run`: the agent of a node, with its metrics and page.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::{
    Args,
    builder::{ArgPredicate, PossibleValuesParser, TypedValueParser as _},
};
use proxy_agent::{
    cri::Runtime,
    plugin::Install,
    run::{self, Options},
    select::{Selection, Term},
    sources::Sources,
    values::Values,
};
use proxy_cni::entry::{Entry, FailurePolicy, TYPE, VALIDATION};
use proxy_core::exit::{Class, Failure};
use proxy_plane::dataplane;

use super::{
    acceleration::AccelerationArgs, flow_log::FlowLogArgs, log::LogFormat, observation::ObservationArgs, stop,
};
use crate::{
    out,
    serve::{self, DEFAULT_LISTEN, Listen},
};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    a node of a mesh whose CNI list has the plugin sidestep-cni:\n    \
    sidestep run\n  \
    one namespace first, and nothing accelerated:\n    \
    sidestep run --select 'shop/*' --accelerate off\n  \
    workloads of a lab, or of a VM, from a file:\n    \
    sidestep run --static workloads.json")]
pub(crate) struct RunArgs {
    /// Where the CNI plugin asks; root's alone
    #[arg(long, value_name = "PATH", default_value = proxy_cni::wire::SOCKET)]
    cni_socket: PathBuf,
    /// The container runtime's socket, which lists the pods; none: only the plugin tells of pods
    #[arg(
        long,
        value_name = "PATH|none",
        default_value_ifs([
            ("files", ArgPredicate::IsPresent, "none"),
            ("watch_cgroup", ArgPredicate::IsPresent, "none"),
        ])
    )]
    runtime: Option<PathBuf>,
    /// Workloads from a file, a JSON array of {pod, netns, cgroup, annotations, labels}; read again and again; repeatable
    #[arg(long = "static", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Each directory below this one of cgroup2 is a workload, its network namespace that of its processes; repeatable
    #[arg(long, value_name = "PATH")]
    watch_cgroup: Vec<PathBuf>,
    /// Values in place of the flags', a JSON object; read again and again, and applied to pods that run
    #[arg(long, value_name = "FILE")]
    values: Option<PathBuf>,
    /// Between two looks at which pods there are
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Refuse to run where there is no bpffs, in place of mounting one: what a container mounts for itself goes with it,
    /// and the pins on it
    #[arg(long)]
    require_bpffs: bool,
    /// kubelet's --cgroup-root, for runtimes that do not tell a pod's cgroup
    #[arg(long, value_name = "PATH", default_value = "/")]
    cgroup_root: String,

    /// Install the CNI plugin, and keep it installed: its binary, by default sidestep-cni beside this one
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = TYPE, help_heading = "CNI plugin")]
    install_cni: Option<PathBuf>,
    /// Where the runtime has its networks [default: as it says]
    #[arg(long, value_name = "DIR", help_heading = "CNI plugin", requires = "install_cni")]
    cni_conf_dir: Option<PathBuf>,
    /// Where the runtime has its plugins [default: as it says]
    #[arg(long, value_name = "DIR", help_heading = "CNI plugin", requires = "install_cni")]
    cni_bin_dir: Option<PathBuf>,
    /// What becomes of a sidecar pod that starts while no agent answers: closed, it waits, or open, it starts and is
    /// enrolled later
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "closed",
        value_parser = PossibleValuesParser::new(["closed", "open"]).try_map(|word| policy(&word)),
        help_heading = "CNI plugin",
        requires = "install_cni"
    )]
    failure_policy: FailurePolicy,

    /// Only these pods: NAMESPACE/POD, NAMESPACE/* or a label KEY=VALUE; repeatable [default: all]
    #[arg(long, value_name = "WHICH", help_heading = "Pods")]
    select: Vec<Term>,
    /// Not these pods, in the same words; repeatable
    #[arg(long, value_name = "WHICH", help_heading = "Pods", default_values_t = [Term::Namespace("kube-system".to_owned())])]
    exclude: Vec<Term>,
    /// A pod with this init container, which the injector has added, waits to be captured; repeatable
    #[arg(long, value_name = "NAME", help_heading = "Pods", default_value = VALIDATION)]
    waits_for: Vec<String>,
    /// A variable of every sidecar's environment, as proxyMetadata of the mesh has it; repeatable
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Pods", value_parser = variable)]
    proxy_env: Vec<(String, String)>,
    /// uid and gid of every sidecar [default: 1337]
    #[arg(long, value_name = "ID", help_heading = "Pods")]
    proxy_id: Option<u32>,

    #[command(flatten)]
    acceleration: AccelerationArgs,
    #[command(flatten)]
    observation: ObservationArgs,

    /// Where metrics, readiness and the page are: ADDR:PORT, HOST:PORT, PORT alone for 127.0.0.1, or unix:/PATH
    #[arg(long, value_name = "WHERE", default_value = DEFAULT_LISTEN, help_heading = "Metrics")]
    listen: Listen,
    /// Metrics and readiness here as well, and nothing else: the same forms
    #[arg(long, value_name = "WHERE", help_heading = "Metrics")]
    listen_metrics: Option<Listen>,
    /// Name under which clients call it, besides its addresses and localhost; repeatable
    #[arg(long, value_name = "NAME", help_heading = "Metrics")]
    host_name: Vec<String>,
    /// For how many seconds bytes wait that nobody takes before a connection counts as stuck
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..),
        help_heading = "Metrics")]
    stuck_after: u64,

    #[command(flatten)]
    flow_log: FlowLogArgs,

    /// How the log is written, on standard error; RUST_LOG says what [default level: info]
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log_format: LogFormat,
    /// After SIGTERM or SIGINT, how long open requests may still take; the data path stays
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain: u64,
}

/// `--runtime`: none asks nobody, and without it the runtime is where runtimes usually are.
pub(super) fn runtime(socket: Option<&Path>) -> Option<Runtime> {
    (socket != Some(Path::new("none"))).then(|| Runtime::new(socket.map(Path::to_owned)))
}

/// As the entry has it.
fn policy(word: &str) -> Result<FailurePolicy, serde_json::Error> {
    serde_json::from_value(word.into())
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

impl RunArgs {
    fn install(&self) -> Result<Option<Install>> {
        let Some(path) = &self.install_cni else { return Ok(None) };
        let source = if path.as_os_str() == TYPE {
            std::env::current_exe().context("where is this binary?")?.with_file_name(TYPE)
        } else {
            path.clone()
        };
        if !source.is_file() {
            let text = format!("--install-cni: {} is no file; name the plugin's binary", source.display());
            return Err(Failure::error(Class::Usage, text));
        }
        let entry = Entry {
            socket: self.cni_socket.clone(),
            failure_policy: self.failure_policy,
            waits_for: self.waits_for.clone(),
            ..Entry::default()
        };
        let (networks, plugins) = (self.cni_conf_dir.clone(), self.cni_bin_dir.clone());
        Ok(Some(Install { source, networks, plugins, entry }))
    }

    fn sources(&self) -> Sources {
        Sources {
            runtime: runtime(self.runtime.as_deref()),
            files: self.files.clone(),
            cgroups: self.watch_cgroup.clone(),
            flags: self.flags(),
            values: self.values.clone(),
        }
    }

    fn flags(&self) -> Values {
        Values {
            selection: Selection { select: self.select.clone(), exclude: self.exclude.clone() },
            waits_for: self.waits_for.clone(),
            acceleration: self.acceleration.resolve(false),
            observe: self.observation.observe,
            proxy_env: self.proxy_env.iter().cloned().collect(),
            proxy_id: self.proxy_id,
        }
    }
}

/// Runs until SIGTERM or SIGINT. Prints the bound address (`listening http://127.0.0.1:15095`) and `ready` on stdout.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode> {
    if args.require_bpffs {
        dataplane::never_mount();
    }
    let options = Options {
        socket: args.cni_socket.clone(),
        sources: args.sources(),
        cgroup_root: args.cgroup_root.clone(),
        install: args.install()?,
        every: Duration::from_secs(args.every),
    };
    let flow_log = args.flow_log.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let stopped = stop::by_signal()?;
        let started = run::start(options)?;
        let server = serve::bind(&serve::Options {
            listen: args.listen.clone(),
            listen_metrics: args.listen_metrics.clone(),
            hosts: args.host_name.clone(),
            program_stats: false,
            drain: Duration::from_secs(args.drain),
            stuck_after: Duration::from_secs(args.stuck_after),
            flow_log,
            agent: Some(Arc::clone(&started.agent)),
        })
        .await?;
        out::text(server.said() + "ready\n")?;
        let (say, told) = tokio::sync::oneshot::channel::<()>();
        let agent = started.run(async move {
            stopped.await;
            drop(say);
        });
        let server = server.run(async move {
            let _ = told.await;
        });
        let (agent, server) = tokio::join!(agent, server);
        agent.and(server)
    })?;
    Ok(ExitCode::SUCCESS)
}
