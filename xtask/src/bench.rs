//! `cargo xtask bench`: sidestep against iptables and against no sidecar; the binary `bench` of crate `tests` runs it.

use anyhow::{Context as _, Result, ensure};

use crate::{apt, build, setup, step, test, workspace::Workspace};

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --only small-32 --rounds 9\n  \
    cargo xtask bench connect\n  cargo xtask bench --help-bench"
)]
pub(crate) struct Args {
    /// Print the bench's own help
    #[arg(long)]
    help_bench: bool,

    /// For the bench, e.g. `--quick`, `connect`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
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
