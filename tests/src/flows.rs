//! What `sidestep flows` says of a pod.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::pod::Pod;
use crate::sidestep::binary;

/// Records come a moment after the sockets are gone.
const WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The pod's flows, with these flags besides.
pub fn of_pod(pod: &Pod, flags: &[&str]) -> Result<Vec<Value>> {
    let workload = pod.workload()?;
    let mut command = Command::new(binary()?);
    command.args(["flows", "--output", "json", "--workload", &workload]).args(flags);
    let output = command.output().context("run sidestep flows")?;
    ensure!(output.status.success(), "sidestep flows: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("sidestep flows prints UTF-8")?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The same once `count` of them have closed.
pub fn wait_closed(pod: &Pod, flags: &[&str], count: usize) -> Result<Vec<Value>> {
    let end = Instant::now() + WITHIN;
    loop {
        let mut flows = of_pod(pod, flags)?;
        flows.retain(|flow| flow["state"] == "closed");
        if flows.len() >= count {
            return Ok(flows);
        }
        ensure!(Instant::now() < end, "{} of {count} flows have closed: {flows:#?}", flows.len());
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Redirected and stacked bytes at a place such as `/upload/written`.
pub fn split(flow: &Value, at: &str) -> (u64, u64) {
    let number = |path: &str| flow.pointer(&format!("{at}/{path}")).and_then(Value::as_u64);
    match (number("redirected"), number("stacked")) {
        (Some(redirected), Some(stacked)) => (redirected, stacked),
        _ => panic!("no {at} in {flow:#}"),
    }
}

/// All bytes at such a place.
pub fn total(flow: &Value, at: &str) -> u64 {
    let (redirected, stacked) = split(flow, at);
    redirected + stacked
}
