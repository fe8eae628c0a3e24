//! Commands in a node's namespaces.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::record::{Cluster, Node};
use crate::step;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask cluster kubectl -n mesh get pods")]
pub(crate) struct KubectlArgs {
    /// For kubectl
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask cluster shell --node 2\n  cargo xtask cluster shell -- ip route"
)]
pub(crate) struct ShellArgs {
    /// Which node, from 1
    #[arg(long, default_value_t = 1)]
    node: usize,
    /// Run this instead of a shell
    #[arg(last = true)]
    command: Vec<String>,
}

/// The words in front of a command that take it to the node whose first process is `pid`.
pub(crate) fn words(pid: i32, bin: &Path, kubeconfig: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["nsenter", "-t"].map(str::to_owned).into();
    words.push(pid.to_string());
    words.extend(["-m", "-n", "-p", "--", "env"].map(str::to_owned));
    words.push(format!("PATH={}", path(bin)));
    words.push(format!("KUBECONFIG={}", kubeconfig.display()));
    words
}

pub(crate) fn path(bin: &Path) -> String {
    format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display())
}

impl Node {
    /// `program` in the node's namespaces.
    pub(crate) fn command(&self, program: &[&str]) -> Command {
        let mut command = step::command(&self.enter[0]);
        command.args(&self.enter[1..]).args(program);
        command
    }

    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["cluster", "kubectl"]);
        command.args(arguments);
        command
    }

    /// `kubectl apply` of a text, with more flags.
    pub(crate) fn apply(&self, manifest: &[u8], more: &[&str]) -> Result<()> {
        let mut apply = self.kubectl(&["apply", "-f", "-"]);
        apply.args(more).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = apply.spawn().context("run kubectl")?;
        child.stdin.take().context("stdin of kubectl")?.write_all(manifest).context("write to kubectl")?;
        let output = child.wait_with_output().context("wait for kubectl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl apply: {}", said.trim());
        Ok(())
    }
}

/// Becomes kubectl, so that its exit status, signals and terminal are its own.
pub(crate) fn kubectl(cluster: &Cluster, args: &KubectlArgs) -> Result<()> {
    let pid = cluster.node(1)?.pid.to_string();
    let mut command = step::command("nsenter");
    // Not the mounts: files are named relative to where we are.
    command.args(["-t", &pid, "-n", "-p", "--"]).arg(cluster.bin.join("cluster")).arg("kubectl");
    let error = command.args(&args.arguments).env("KUBECONFIG", &cluster.kubeconfig).exec();
    Err(anyhow!(error).context("run nsenter"))
}

pub(crate) fn shell(cluster: &Cluster, args: &ShellArgs) -> Result<()> {
    let node = cluster.node(args.node)?;
    let mut command = node.command(&[]);
    if args.command.is_empty() {
        step::say("Entering", format!("{} of cluster {}", node.name, cluster.name));
        command.args(["bash", "--norc"]).env("PS1", format!("{}/{} \\w # ", cluster.name, node.name));
    } else {
        command.args(&args.command);
    }
    Err(anyhow!(command.exec()).context("run nsenter"))
}
