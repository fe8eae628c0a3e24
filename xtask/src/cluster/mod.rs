//! `cargo xtask cluster`: a real Kubernetes with a real Istio on this machine, in namespaces of its own, built from the
//! Go modules of `tests/cluster`. Where the product is tried against what it replaces.

mod binaries;
mod borrow;
mod bridge;
mod cgroup;
mod components;
mod daemonset;
mod debian;
mod down;
mod enter;
mod go;
mod image;
mod images;
mod init;
mod inotify;
mod interrupt;
mod istio;
mod istio_suite;
mod network;
mod node;
mod node_files;
mod processes;
mod record;
mod smoke;
mod status;
mod suite;
mod up;

use anyhow::{Result, bail};
use clap::Subcommand;

use self::record::Home;
pub(crate) use self::suite::{Soak, part as tests, prepare, soak};
pub(crate) use self::{borrow::with_istio, go::Unavailable};
use crate::{apt, workspace::Workspace};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask cluster up --nodes 3 --plugin stand-in\n  \
    cargo xtask cluster istio\n  cargo xtask cluster kubectl apply -f tests/cluster/mesh.yaml\n  \
    cargo xtask cluster down")]
pub(crate) struct Args {
    /// Which cluster; several live side by side
    #[arg(long, default_value = "lab")]
    name: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compile Kubernetes, containerd, CoreDNS and Istio, and make the images
    Build,
    /// Start a cluster: nodes Ready and DNS answering when it returns
    Up(up::Args),
    /// Install Istio, for the CNI plugin to capture (or with --iptables)
    Istio(istio::Args),
    /// Run kubectl on the first node; everything after the word is kubectl's
    Kubectl(enter::KubectlArgs),
    /// Open a shell, or run a command, in a node's namespaces
    Shell(enter::ShellArgs),
    /// Show nodes, pods and paths
    Status(status::Args),
    /// Run the tests on it: up, Istio, every case under iptables and under sidestep, down
    Test(suite::Args),
    /// Run Istio's own tests on it, under istio-init and under sidestep (an hour or more)
    Suite(istio_suite::Args),
    /// Try it: up, Istio, two pods that speak mutual TLS, down
    Smoke(smoke::Args),
    /// End the cluster and remove what it left
    Down,
    #[command(hide = true)]
    Init(init::Args),
}

/// # Errors
/// What the verb says; [`Unavailable`] where Go is missing.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let home = Home::new(workspace, &args.name)?;
    if let Verb::Init(args) = &args.verb {
        return init::run(args);
    }
    if !apt::is_root() {
        bail!("a cluster is namespaces, mounts and cgroups: run as root");
    }
    match &args.verb {
        Verb::Build => binaries::ensure(workspace).map(|_| ()),
        Verb::Up(args) => up::run(workspace, &home, args),
        Verb::Istio(args) => istio::run(&home.read()?, args),
        Verb::Kubectl(args) => enter::kubectl(&home.read()?, args),
        Verb::Shell(args) => enter::shell(&home.read()?, args),
        Verb::Status(args) => status::run(&home.read()?, args),
        Verb::Test(args) => suite::run(workspace, &home, args),
        Verb::Suite(suite) => istio_suite::run(workspace, &istio_suite::home(workspace, &args.name)?, suite),
        Verb::Smoke(args) => smoke::run(workspace, &home, args),
        Verb::Down => down::run(&home),
        Verb::Init(_) => Ok(()),
    }
}
