//! `cluster smoke`: whether two meshed pods speak mutual TLS, with each way of capture.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    down, istio,
    record::{Cluster, Home},
    up,
};
use crate::{step, workspace::Workspace};

#[derive(clap::Args)]
#[group(skip)]
#[command(after_help = "Example:\n  cargo xtask cluster smoke --nodes 3 --attach-flags \"--observe off\"")]
pub(crate) struct Args {
    #[command(flatten)]
    up: up::Args,
    /// Leave the cluster up
    #[arg(long)]
    keep: bool,
}

/// Who captures: Istio's own init container, the real istio-iptables run by the stand-in plugin, sidestep.
const MODES: [&str; 3] = ["istio-init", "iptables", "sidestep"];

pub(crate) fn run(workspace: &Workspace, home: &Home, args: &Args) -> Result<()> {
    let ours = home.living().is_none();
    if ours {
        up::run(workspace, home, &args.up)?;
    }
    let outcome = home.read().and_then(|cluster| try_all(workspace, &cluster, args));
    if ours && !args.keep {
        down::run(home)?;
    }
    outcome
}

fn try_all(workspace: &Workspace, cluster: &Cluster, args: &Args) -> Result<()> {
    let sidestep = args.up.capture.sidestep.clone().unwrap_or_else(|| workspace.release("sidestep"));
    for mode in MODES {
        if mode == "sidestep" && !sidestep.is_file() {
            step::say(
                "Skipping",
                format!("mode sidestep: no {}; `cargo xtask build` makes it", sidestep.display()),
            );
            continue;
        }
        let istio = istio::Args { iptables: mode == "istio-init", set: Vec::new() };
        istio::run(cluster, &istio)?;
        let begun = Instant::now();
        let outcome = mesh(workspace, cluster, mode);
        let took = begun.elapsed().as_secs_f64();
        kubectl(cluster, &["delete", "namespace", "mesh", "--ignore-not-found"])?;
        let answer = outcome.with_context(|| format!("mode {mode}"))?;
        step::say("Passed", format!("{mode} ({took:.1} s): {answer}"));
    }
    Ok(())
}

/// Two pods of `tests/cluster/mesh.yaml`, and what the server says it saw.
fn mesh(workspace: &Workspace, cluster: &Cluster, mode: &str) -> Result<String> {
    let file: PathBuf = workspace.root.join("tests/cluster/mesh.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let text = match mode {
        // Two would capture otherwise.
        "iptables" => text.replace("lab/mode: sidestep", "lab/mode: iptables, sidestep.io/inject: \"false\""),
        _ => text,
    };
    cluster.node(1)?.apply(text.as_bytes(), &[])?;
    let pods = ["-n", "mesh", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=240s"];
    if let Err(error) = kubectl(cluster, &pods) {
        let events = kubectl(cluster, &["-n", "mesh", "get", "events,pods"]).unwrap_or_default();
        return Err(error.context(events));
    }
    let answer = kubectl(
        cluster,
        &["-n", "mesh", "exec", "client", "-c", "app", "--", "/bin/app", "-v", "http://server/who"],
    )?;
    ensure!(answer.starts_with("200 OK"), "the client got: {answer}");
    ensure!(answer.contains("By=spiffe://"), "no mutual TLS: {answer}");
    ensure!(answer.contains("peer 127.0.0.6:"), "the server saw another peer: {answer}");
    Ok(answer)
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let mut command: Command = cluster.node(1)?.kubectl(arguments);
    let output = command.stdin(Stdio::null()).output().context("run kubectl")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
