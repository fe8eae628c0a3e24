//! PID 1 of the guests that `cargo xtask lab` boots: mounts, modules, then the test binaries of the plan, one after
//! the other. One serial line is the kernel's; the one that xtask names carries what the tests print between lines of ours.

mod machine;
mod plan;

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::plan::{Plan, Run};

const POLL: Duration = Duration::from_millis(100);

fn main() {
    // Nobody is left to report to but the console.
    if let Err(error) = run() {
        eprintln!("lab-init: {error:#}");
    }
    machine::power_off();
}

fn run() -> Result<()> {
    machine::mount_all()?;
    let line = machine::report()?;
    let open = OpenOptions::new().write(true).open(&line);
    let mut report = open.with_context(|| format!("open {}", line.display()))?;
    // What goes wrong from here on is told where xtask looks first.
    let result = (|| {
        machine::raise_limits();
        machine::loopback_up()?;
        let plan = Plan::read("/lab/plan.json")?;
        for directory in &plan.hide {
            machine::hide(directory)?;
        }
        for module in &plan.modules {
            machine::load(module)?;
        }
        for run in &plan.runs {
            say(&mut report, &format!("@run {}", run.name))?;
            let code = execute(&plan, run, &report)?;
            say(&mut report, &format!("@end {} {code}", run.name))?;
        }
        Ok(())
    })();
    match &result {
        Ok(()) => say(&mut report, "@done")?,
        Err(error) => say(&mut report, &format!("@failed {error:#}"))?,
    }
    result
}

/// Runs a test binary to its end, or ends it: the others are to have their turn.
fn execute(plan: &Plan, run: &Run, report: &File) -> Result<i32> {
    let output = || report.try_clone().context("duplicate the serial line");
    let mut child = Command::new(&run.program)
        .args(&run.args)
        .envs(&plan.env)
        .current_dir("/tmp")
        .stdin(Stdio::null())
        .stdout(output()?)
        .stderr(output()?)
        .spawn()
        .with_context(|| format!("run {}", run.program))?;
    let deadline = Instant::now() + Duration::from_secs(plan.most_seconds);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(status.code().unwrap_or(-1));
        }
        thread::sleep(POLL);
    }
    say(&mut output()?, &format!("lab-init: {} did not end within {} s", run.name, plan.most_seconds))?;
    child.kill().with_context(|| format!("kill {}", run.name))?;
    child.wait().context("wait")?;
    Ok(-1)
}

/// On a line of its own, whatever the test left unfinished.
fn say(report: &mut File, line: &str) -> Result<()> {
    writeln!(report, "\n{line}").context("write to the serial line")
}
