//! The load generator.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::tests::pod::Pod;
use ::tests::process;
use ::tests::server::APP_USER;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::case::Work;

const SCRIPT: &str = include_str!("wrk.lua");
/// More would fill the ephemeral ports of 127.0.0.6 towards one port with TIME_WAIT, under every data plane.
const MAX_CHURN: u64 = 20_000;

/// What wrk saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Answered {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) bytes: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) errors: u64,
}

/// Fails if the sidecar may have run out of ports.
pub(crate) fn check_ports(work: Work, answered: &Answered) -> Result<()> {
    let churned = matches!(work, Work::Churn(_)) && answered.requests > MAX_CHURN;
    ensure!(!churned, "{} connections in a run are more than {MAX_CHURN}", answered.requests);
    Ok(())
}

/// Where a program is that sidestep is told to trust.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    process::path_of(name).with_context(|| format!("no {name}: `cargo xtask setup` installs it"))
}

/// Runs it in `pod` for `seconds`, with one thread.
pub(crate) fn run(pod: &Pod, at: SocketAddr, work: Work, seconds: u32) -> Result<Answered> {
    let script = pod.scratch().join("wrk.lua");
    if !script.exists() {
        std::fs::write(&script, SCRIPT).context("write wrk's script")?;
    }
    let connections = work.connections().to_string();
    let mut command = pod
        .command(binary("wrk")?)
        .user(APP_USER.0, APP_USER.1)
        .args(["-t", "1", "-c", &connections, "-d", &format!("{seconds}s"), "--timeout", "5s", "-s"])
        .arg(&script);
    if matches!(work, Work::Churn(_)) {
        command = command.args(["-H", "Connection: close"]);
    }
    let output = command.arg(format!("http://{at}{}", work.path())).run()?;
    let line = output.lines().rev().find(|line| line.starts_with('{'));
    let Some(line) = line else { bail!("wrk printed no result: {output}") };
    let answered: Answered = serde_json::from_str(line).with_context(|| format!("read {line:?}"))?;
    ensure!(answered.requests > 0, "wrk had no answer from {at}: {output}");
    ensure!(answered.errors == 0, "wrk had {} errors: {output}", answered.errors);
    Ok(answered)
}
