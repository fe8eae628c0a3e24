//! `sidestep` as its user runs it who has no privilege.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::requirement::Requirement;
use crate::sidestep;

/// What changes the user.
pub const SETPRIV: Requirement = Requirement::Program("setpriv", "util-linux");

/// A user of its own, and a copy of the binary that it can read: a clone may be below /root.
#[derive(Debug)]
pub struct Nobody {
    directory: tempfile::TempDir,
}

impl Nobody {
    pub fn new() -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("lab-nobody").tempdir().context("make a directory")?;
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), readable).context("open the directory")?;
        // By a process of its own: one that another test forks meanwhile would hold ours open, and keep it from being run.
        let copied =
            Command::new("cp").arg(sidestep::binary()?).arg(directory.path().join("sidestep")).status();
        ensure!(copied.context("run cp")?.success(), "cp failed");
        Ok(Self { directory })
    }

    /// Where it may write.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `sidestep` with these arguments.
    pub fn command(&self, args: &[&str]) -> Command {
        self.with(&["--reuid", "65534", "--regid", "65534", "--clear-groups"], args)
    }

    /// The same as root without any capability, as in most containers. None: this kernel lets everybody call bpf(2).
    pub fn bare_root(&self, args: &[&str]) -> Option<Command> {
        let open = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled").ok()?;
        (open.trim() != "0").then(|| self.with(&["--bounding-set", "-all", "--inh-caps", "-all"], args))
    }

    fn with(&self, user: &[&str], args: &[&str]) -> Command {
        // Followers and servers do not end by themselves if they are not refused.
        let mut command = Command::new("timeout");
        command
            .args(["20", "setpriv"])
            .args(user)
            .arg("--")
            .arg(self.directory.path().join("sidestep"))
            .args(args);
        command
    }
}
