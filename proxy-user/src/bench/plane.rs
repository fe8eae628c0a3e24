//! What redirects, set up by this program's own verbs and by the node's iptables.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::out;

#[rustfmt::skip]
const FLAGS: [&str; 16] = [
    "-p", "15001", "-z", "15006", "-u", "1337", "-g", "1337", "-m", "REDIRECT",
    "-i", "*", "-b", "*", "-d", "15090,15021,15020",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// No redirection: the client reaches the server directly.
    None,
    Iptables,
    SidestepNoaccel,
    Sidestep,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Iptables => "iptables",
            Self::SidestepNoaccel => "sidestep-noaccel",
            Self::Sidestep => "sidestep",
        }
    }

    /// Those this node can do.
    pub(super) fn available() -> Vec<Self> {
        let mut all = vec![Self::None];
        let asked = Command::new("iptables-restore").arg("--version").stdout(Stdio::null()).status();
        match asked {
            Ok(status) if status.success() => all.push(Self::Iptables),
            _ => out::complain("without iptables: no iptables-restore here"),
        }
        all.extend([Self::SidestepNoaccel, Self::Sidestep]);
        all
    }

    pub(super) const fn has_sidecar(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// The program that runs.
pub(super) fn own() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("find this program")
}

/// Puts `mode` underneath a namespace and cgroup, from outside.
pub(super) fn attach(mode: Mode, netns: &Path, cgroup: &Path) -> Result<()> {
    let accelerate = match mode {
        Mode::None | Mode::Iptables => return Ok(()),
        Mode::SidestepNoaccel => "off",
        Mode::Sidestep => "safe-readers",
    };
    let own = own()?;
    let mut command = Command::new(&own);
    command.arg("attach").arg("--netns").arg(netns).arg("--cgroup").arg(cgroup).args(FLAGS);
    // Client, relay and server are this program, whose use of sockets is known.
    command.args(["--accelerate", accelerate, "--trust-program"]).arg(own);
    succeed(&mut command)
}

/// Takes sidestep away again.
pub(super) fn detach(mode: Mode, netns: &Path, cgroup: &Path) -> Result<()> {
    if matches!(mode, Mode::None | Mode::Iptables) {
        return Ok(());
    }
    let mut command = Command::new(own()?);
    command.arg("detach").arg("--netns").arg(netns).arg("--cgroup").arg(cgroup);
    succeed(&mut command)
}

/// Loads istio-init's rules into the caller's namespace.
pub(super) fn load_rules() -> Result<()> {
    let rules = Command::new(own()?).arg("rules").args(FLAGS).output().context("run sidestep rules")?;
    ensure!(rules.status.success(), "sidestep rules: {}", out::said_by(&rules.stderr));
    let mut restore =
        Command::new("iptables-restore").stdin(Stdio::piped()).spawn().context("iptables-restore")?;
    if let Some(mut input) = restore.stdin.take() {
        input.write_all(&rules.stdout).context("write to iptables-restore")?;
    }
    let status = restore.wait().context("wait for iptables-restore")?;
    ensure!(status.success(), "iptables-restore: {status}");
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", out::said_by(&output.stderr));
    Ok(())
}
