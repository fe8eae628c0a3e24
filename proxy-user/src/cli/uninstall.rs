//! `sidestep uninstall`: the CNI plugin goes from this node.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;
use proxy_agent::uninstall::{self, Options};

use super::run::runtime;
use crate::out;

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    after the agent has been stopped for good on this node:\n    \
    sidestep uninstall\n  \
    the pods that run leave the mesh too:\n    \
    sidestep uninstall --force\n\n\
    It may be interrupted and run again at any time; pods start and stop meanwhile. A container runtime that still goes \
    by the old list keeps the binary.")]
pub(crate) struct UninstallArgs {
    /// Where the agent's plugin asked; the agent's lock is beside it
    #[arg(long, value_name = "PATH", default_value = proxy_cni::wire::SOCKET)]
    cni_socket: PathBuf,
    /// The container runtime's socket, which says what it has loaded; none: nobody is asked [default: where runtimes
    /// usually are]
    #[arg(long, value_name = "PATH|none")]
    runtime: Option<PathBuf>,
    /// Where the runtime has its networks [default: as it says]
    #[arg(long, value_name = "DIR")]
    cni_conf_dir: Option<PathBuf>,
    /// Where the runtime has its plugins [default: as it says]
    #[arg(long, value_name = "DIR")]
    cni_bin_dir: Option<PathBuf>,
    /// Release the pods that run as well: what they connect from then on passes their sidecars by
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &UninstallArgs) -> Result<ExitCode> {
    let options = Options {
        socket: args.cni_socket.clone(),
        runtime: runtime(args.runtime.as_deref()),
        networks: args.cni_conf_dir.clone(),
        plugins: args.cni_bin_dir.clone(),
        force: args.force,
        read_within: uninstall::READ_WITHIN,
        set_up_within: uninstall::SET_UP_WITHIN,
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio.block_on(uninstall::run(options, &mut out::line))?;
    Ok(ExitCode::SUCCESS)
}
