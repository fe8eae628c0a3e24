//! The pod's keeper.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sched::{CloneFlags, unshare};
use tests::{cgroup, keeper};

use crate::sysctl;

/// Defaults of the new namespace; a kernel without IPv6 lacks some of them.
const SYSCTLS: [(&str, &str); 5] = [
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    // As the container runtimes set it: applications of uid 1000 listen on port 80.
    ("net/ipv4/ip_unprivileged_port_start", "0"),
];

#[derive(Debug, Args)]
pub(crate) struct Keep {
    #[arg(long)]
    cgroup: PathBuf,
    /// Directory to remove at the end.
    #[arg(long)]
    scratch: PathBuf,
}

impl Keep {
    pub(crate) fn run(self) -> Result<()> {
        std::fs::create_dir(&self.cgroup).with_context(|| format!("make {}", self.cgroup.display()))?;
        let held = hold(&self.cgroup);
        // The cgroup is still there: what is attached to it has to be found.
        let undone = held.and_then(|undo| undo.iter().rev().try_for_each(|command| run(command)));
        // Out of the cgroup, else it would end itself.
        let left = self.cgroup.parent().context("the cgroup has no parent").and_then(cgroup::join);
        let ended = left.and_then(|()| cgroup::end(&self.cgroup));
        let scratch = std::fs::remove_dir_all(&self.scratch)
            .with_context(|| format!("remove {}", self.scratch.display()));
        undone.and(ended).and(scratch)
    }
}

/// Makes the namespace, says so, and waits for the end. Returns the commands still to be undone.
fn hold(cgroup: &std::path::Path) -> Result<Vec<Vec<String>>> {
    cgroup::join(cgroup)?;
    unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
    for (path, value) in SYSCTLS {
        sysctl::set(path, value).ok();
    }
    run(&["ip", "link", "set", "lo", "up"].map(str::to_owned))?;
    println!("{}", keeper::READY);
    let mut undo = Vec::new();
    for line in std::io::stdin().lines() {
        undo = serde_json::from_str(&line.context("read standard input")?).context("parse standard input")?;
    }
    Ok(undo)
}

fn run(command: &[String]) -> Result<()> {
    let (program, args) = command.split_first().context("empty command")?;
    let status = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
