//! `cargo xtask bench mesh`: a cluster with Istio, and in it the binary `bench` of crate `tests`.

use anyhow::{Context as _, Result, ensure};

use crate::{apt, build, cluster, setup, step, test, workspace::Workspace};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench mesh --turns 3\n  cargo xtask bench mesh --keep")]
pub(crate) struct Args {
    /// The cluster; one of this name that is up already is used, and stays up
    #[arg(long, default_value = "mesh")]
    name: String,

    /// Leave the cluster up
    #[arg(long)]
    keep: bool,

    /// For the bench: --turns 9, --seconds 1, --connections 8, --cpu, --out DIR
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    bench: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    ensure!(apt::is_root(), "a cluster is namespaces, mounts and cgroups: run as root");
    setup::bpf_toolchain(workspace)?;
    build::binaries(workspace)?;
    cluster::with_istio(workspace, &args.name, args.keep, |record| {
        let binary = workspace.release("bench");
        let mut bench = step::command(&binary);
        bench.arg("mesh").arg("--cluster").arg(record).args(&args.bench);
        test::environment(workspace, &mut bench);
        let status = bench.status().with_context(|| format!("run {}", binary.display()))?;
        ensure!(status.success(), "the bench failed ({status})");
        Ok(())
    })
}
