//! The process that is a pod's pause container: it makes the cgroup and the network namespace, holds them open, and
//! takes everything down when its standard input closes. That end comes with the guard's drop, and also when the test
//! process is killed or interrupted, so nothing outlives it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::agent;

/// Line the keeper prints once cgroup and namespace exist.
pub const READY: &str = "ready";

/// A running keeper.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    input: Mutex<Option<ChildStdin>>,
}

impl Keeper {
    /// Starts a keeper that makes `cgroup`, and at the end removes it and the directory `scratch`.
    pub fn start(cgroup: &Path, scratch: &Path) -> Result<Self> {
        let mut child = Command::new(agent::path()?)
            .arg("keep")
            .arg("--cgroup")
            .arg(cgroup)
            .arg("--scratch")
            .arg(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Its own process group: an interrupt from the terminal ends the test, and the keeper then cleans up.
            .process_group(0)
            .spawn()
            .context("start lab-agent keep")?;
        let input = Mutex::new(child.stdin.take());
        let output = child.stdout.take().context("keeper without stdout")?;
        let keeper = Self { child, input };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("read from the keeper")?;
        ensure!(line.trim() == READY, "the keeper of {} did not start (root needed)", cgroup.display());
        Ok(keeper)
    }

    /// Pid of the keeper; its `/proc/<pid>/ns/net` is the pod's namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Commands to run when the pod ends, last first, should their guards not get to it. Replaces earlier ones.
    pub fn undo_at_end(&self, commands: &[Vec<String>]) -> Result<()> {
        let mut line = serde_json::to_string(commands)?;
        line.push('\n');
        let mut input = self.input.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let input = input.as_mut().context("the keeper has ended")?;
        input.write_all(line.as_bytes()).context("write to the keeper")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        *self.input.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        match self.child.wait() {
            Ok(status) if status.success() => {}
            other => eprintln!("lab: keeper {} ended with {other:?}", self.child.id()),
        }
    }
}
