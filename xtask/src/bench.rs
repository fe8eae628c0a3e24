//! `cargo xtask bench`: sidestep against iptables and against no sidecar; the binary `bench` of crate `tests` runs it.

use anyhow::{Context as _, Result, ensure};
use clap::Subcommand;

use crate::{apt, bench_mesh, build, setup, step, test, workspace::Workspace};

#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --only small-32 --rounds 9\n  cargo xtask bench --apps\n  \
    cargo xtask bench agent\n  cargo xtask bench connect\n  cargo xtask bench enroll\n  cargo xtask bench mesh\n  cargo xtask bench turnarounds\n  cargo xtask bench --help-bench"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,

    /// Print the bench's own help
    #[arg(long)]
    help_bench: bool,

    /// For the bench, e.g. `--quick`, `connect`, `enroll`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

#[derive(Subcommand)]
enum What {
    /// On a real Kubernetes with a real Istio and mutual TLS: CPU per request (Go)
    Mesh(bench_mesh::Args),
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if let Some(What::Mesh(args)) = &args.what {
        return bench_mesh::run(workspace, args);
    }
    ensure!(
        apt::is_root() || args.help_bench,
        "the bench makes network namespaces and loads BPF programs: run as root"
    );
    setup::run(workspace)?;
    build::binaries(workspace)?;
    let binary = workspace.release("bench");
    let mut bench = step::command(&binary);
    bench.args(&args.bench);
    if args.help_bench {
        bench.arg("--help");
    }
    test::environment(workspace, &mut bench);
    let status = bench.status().with_context(|| format!("run {}", binary.display()))?;
    ensure!(status.success(), "the bench failed ({status})");
    Ok(())
}
