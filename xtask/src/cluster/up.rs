//! `cluster up`: nodes that are Ready, and DNS that answers.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::{
    binaries, bridge, cgroup,
    components::{self, Starting},
    daemonset::DaemonSet,
    down, enter, inotify, interrupt,
    network::{self, API_SERVICE, MOST_NODES, Network, OUTSIDE},
    node::Machine,
    node_files,
    record::{Cluster, Home, Node, Outside, write},
};
use crate::{step, workspace::Workspace};

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  cargo xtask cluster up --nodes 3 --attach-flags \"--observe off\"")]
pub(crate) struct Args {
    /// How many nodes, 1 to 9
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_NODES)))]
    pub(crate) nodes: u8,
    /// Pods and services have IPv6 addresses as well, and IPv6 is captured
    #[arg(long)]
    pub(crate) dual_stack: bool,
    #[command(flatten)]
    pub(crate) capture: Capture,
}

/// What a cluster is told whatever it consists of.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Capture {
    /// What is chained behind the bridge plugin
    #[arg(long, value_enum, default_value_t = Plugin::Sidestep)]
    pub(crate) plugin: Plugin,
    /// The sidestep that runs, with sidestep-cni beside it [default: that of the release build]
    #[arg(long, value_name = "PATH")]
    pub(crate) sidestep: Option<PathBuf>,
    /// More flags for `sidestep run`, or, with the stand-in, for `sidestep attach` of every pod
    #[arg(long, value_name = "FLAGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) attach_flags: String,
    /// When the cluster ends by itself
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=72))]
    pub(crate) hours: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plugin {
    None,
    /// `sidestep run` on each node, and its CNI plugin
    Sidestep,
    /// The same in a DaemonSet, installed by Helm
    Daemonset,
    /// A script that runs `sidestep attach`, with other flags for each pod that has the annotation lab/flags
    StandIn,
}

/// The cases ask from node to node.
const NODES_OF_TESTS: u8 = 2;

impl Args {
    /// The cluster the cases are for: two nodes, both address families.
    pub(crate) fn of_tests(capture: Capture) -> Self {
        Self { nodes: NODES_OF_TESTS, dual_stack: true, capture }
    }
}

impl Capture {
    /// The sidestep that is tried.
    pub(crate) fn binary(&self, workspace: &Workspace) -> Result<PathBuf> {
        let sidestep = self.sidestep.clone().unwrap_or_else(|| workspace.release("sidestep"));
        std::path::absolute(&sidestep).with_context(|| format!("--sidestep {}", sidestep.display()))
    }

    /// Where nobody says anything, in `cargo xtask test`.
    pub(crate) fn of_tests() -> Self {
        Self { plugin: Plugin::Sidestep, sidestep: None, attach_flags: String::new(), hours: 1 }
    }
}

pub(crate) fn run(workspace: &Workspace, home: &Home, args: &Args) -> Result<()> {
    // A node has those for itself, and would not see what we write.
    let hidden = ["/run", "/var/log", "/var/lib"].into_iter().find(|dir| home.dir.starts_with(dir));
    if let Some(hidden) = hidden {
        bail!("{} is below {hidden}, of which nodes see their own: set CARGO_TARGET_DIR", home.dir.display());
    }
    let bin = binaries::ensure(workspace)?;
    let _lock = home.lock()?;
    ensure!(home.living().is_none(), "cluster {} is up already; `cluster down` ends it", home.name);
    down::clean(home)?;
    interrupt::watch()?;
    let begun = Instant::now();
    let unfinished = Unfinished { home, done: false };
    let cluster = match start(workspace, home, &bin, args) {
        // Programs we wait for get the signal as well, and what they complain of is not the reason.
        Err(_) if interrupt::check().is_err() => bail!("interrupted"),
        outcome => outcome?,
    };
    unfinished.done();
    let nodes = cluster.nodes.len();
    let took = begun.elapsed().as_secs_f64();
    step::say("Finished", format!("cluster {} of {nodes} node(s) is up after {took:.1} s", cluster.name));
    step::say("", format!("export KUBECONFIG={}", cluster.kubeconfig.display()));
    Ok(())
}

/// Whatever ends `up` early, nothing is left.
struct Unfinished<'a> {
    home: &'a Home,
    done: bool,
}

impl Unfinished<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.done {
            step::say("Cleaning", format!("what there is of cluster {}", self.home.name));
            let interrupted = interrupt::check().is_err();
            let clean = if interrupted { down::clean } else { down::clean_keeping_logs };
            if let Err(error) = clean(self.home) {
                step::say("Warning", format!("{error:#}"));
            }
        }
    }
}

/// Says what was done since the last time, and how long it took.
struct Phases(Instant);

impl Phases {
    fn done(&mut self, what: &str) {
        step::say("Started", format!("{what} ({:.1} s)", self.0.elapsed().as_secs_f64()));
        self.0 = Instant::now();
    }
}

fn start(workspace: &Workspace, home: &Home, bin: &Path, args: &Args) -> Result<Cluster> {
    let network = Network { dual_stack: args.dual_stack };
    let mut phases = Phases(Instant::now());
    cgroup::create(&home.cgroup)?;
    inotify::raise(&home.dir)?;
    let outside_dir = home.dir.join("outside");
    let outside = Machine::start("outside", &outside_dir, &format!("{}/outside", home.cgroup), false)?;
    bridge::make(&outside, network, args.nodes)?;
    certificates(home, bin, network)?;
    let by_helm = args.capture.plugin == Plugin::Daemonset;
    let daemonset = by_helm
        .then(|| DaemonSet::prepare(workspace, home, &args.capture.binary(workspace)?, args.dual_stack))
        .transpose()?;
    let (mut machines, mut nodes) = (Vec::new(), Vec::new());
    for number in 1..=args.nodes {
        let name = format!("node{number}");
        let dir = home.dir.join(&name);
        node_files::directories(&dir, network)?;
        let machine = Machine::start(&name, &dir, &format!("{}/{name}", home.cgroup), true)?;
        bridge::plug(&outside, &machine, network, number, args.nodes)?;
        node_files::write_all(workspace, &home.dir, bin, &machine, network, number, args)?;
        nodes.push(Node {
            pid: machine.pid,
            address: network::address(number),
            cgroup: machine.cgroup.clone(),
            enter: enter::words(machine.pid, bin, &home.dir.join("admin.conf")),
            name,
            dir,
        });
        machines.push(machine);
    }
    phases.done("namespaces");
    let mut starting: Vec<Starting<'_>> = machines
        .iter_mut()
        .zip(&nodes)
        .zip(1..)
        .map(|((machine, node), number)| Starting { machine, node, home: &home.dir, bin, network, number })
        .collect();
    let own_image = daemonset.as_ref().map(DaemonSet::image);
    control_plane(&mut starting, own_image)?;
    phases.done("API server, containerd, images");
    starting[0].controllers()?;
    for node in &mut starting {
        if args.capture.plugin == Plugin::Sidestep {
            node.agent(&args.capture.binary(workspace)?, &args.capture.attach_flags, args.dual_stack)?;
        }
        node.kubelet()?;
    }
    dns(workspace, home, &nodes[0], network)?;
    components::ready(&machines[0], &nodes)?;
    phases.done("nodes, DNS");
    if let Some(daemonset) = &daemonset {
        daemonset.install(&nodes[0])?;
        phases.done("sidestep, by its chart");
    }
    let cluster = Cluster {
        name: home.name.clone(),
        kubeconfig: home.dir.join("admin.conf"),
        bin: bin.to_path_buf(),
        cgroup: home.cgroup.clone(),
        dual_stack: args.dual_stack,
        outside: Outside {
            pid: outside.pid,
            address: OUTSIDE[0].to_owned(),
            address6: args.dual_stack.then(|| OUTSIDE[1].to_owned()),
        },
        nodes,
        helm: daemonset.as_ref().map(DaemonSet::helm),
        dir: home.dir.clone(),
    };
    // From here on it lives without us.
    interrupt::check()?;
    home.write(&cluster)?;
    for machine in machines.into_iter().chain([outside]) {
        machine.keep(args.capture.hours)?;
    }
    Ok(cluster)
}

/// CoreDNS: the manifest is for IPv4 alone.
fn dns(workspace: &Workspace, home: &Home, node: &Node, network: Network) -> Result<()> {
    let source = workspace.root.join("tests/cluster/dns.yaml");
    let text = std::fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
    let manifest = home.dir.join("dns.yaml");
    write(&manifest, &network.manifest_of_dns(&text))?;
    let mut apply = node.kubectl(&["apply", "-f"]);
    let output = apply.arg(&manifest).stdin(Stdio::null()).output().context("run kubectl")?;
    ensure!(output.status.success(), "apply dns.yaml: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The images take as long as the API server does: both at once.
fn control_plane(starting: &mut [Starting<'_>], own_image: Option<&Path>) -> Result<()> {
    for node in starting.iter_mut() {
        node.containerd()?;
    }
    let (first, others) = starting.split_first_mut().context("a cluster has a node")?;
    let importing: Vec<_> = std::iter::once(&*first)
        .chain(&*others)
        .map(|node| (node.node.clone(), node.bin.to_path_buf()))
        .collect();
    thread::scope(|scope| {
        let imports: Vec<_> = importing
            .iter()
            .map(|(node, bin)| scope.spawn(move || components::import(node, bin, own_image)))
            .collect();
        let server = first.etcd().and_then(|()| first.api_server());
        for import in imports {
            import.join().unwrap_or_else(|_| Err(anyhow::anyhow!("importing the images panicked")))?;
        }
        server
    })
}

fn certificates(home: &Home, bin: &Path, network: Network) -> Result<()> {
    let pki = home.dir.join("pki");
    std::fs::create_dir_all(&pki).with_context(|| format!("create {}", pki.display()))?;
    let names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut command = step::command(bin.join("cluster"));
    command.arg("pki").arg(&pki).args(names).args(API_SERVICE).args(network.node(1)).arg("127.0.0.1");
    let output = command.output().context("run cluster pki")?;
    ensure!(output.status.success(), "cluster pki: {}", String::from_utf8_lossy(&output.stderr).trim());
    node_files::kubeconfig(&home.dir)
}
