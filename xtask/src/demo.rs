//! `cargo xtask demo`: the lo/eth0 experiment, live; the binary `demo` of crate `tests` runs it.

use anyhow::{Context as _, Result, ensure};

use crate::{build, setup, step, test, workspace::Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For the demo, e.g. `--json`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::run(workspace)?;
    build::binaries(workspace)?;
    let binary = workspace.release("demo");
    let mut demo = step::command(&binary);
    demo.args(&args.demo);
    test::environment(workspace, &mut demo);
    let status = demo.status().with_context(|| format!("run {}", binary.display()))?;
    ensure!(status.success(), "the demo failed ({status})");
    Ok(())
}
