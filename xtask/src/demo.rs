//! `cargo xtask demo`: the lo/eth0 experiment, live; the binary `demo` of crate `tests` runs it.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::{build, setup, step, test, test_tools::For, workspace::Workspace};

const PHASES: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// For the demo, e.g. `--json`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    demo: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let log = workspace.target_for("demo.log");
    step::log_to(&log)?;
    phase(1, &format!("tools and compilers (full log: {})", log.display()), || {
        setup::with_tools(workspace, For::Demo)
    })?;
    phase(2, "the binaries", || build::binaries(workspace))?;
    phase(3, "the experiment", || {
        let binary = workspace.release("demo");
        let mut demo = step::command(&binary);
        demo.args(&args.demo);
        test::environment(workspace, &mut demo);
        let status = demo.status().with_context(|| format!("run {}", binary.display()))?;
        ensure!(status.success(), "the demo failed ({status})");
        Ok(())
    })
}

fn phase(number: usize, what: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    step::say(&format!("{number}/{PHASES}"), what);
    work()?;
    step::say(&format!("{number}/{PHASES}"), format!("ok, {:.1} s", begun.elapsed().as_secs_f64()));
    Ok(())
}
