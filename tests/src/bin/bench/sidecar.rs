//! Envoy without an access log, which would cost as much as a small request, and with the counters that prove traffic.

use std::time::Duration;

use ::tests::envoy::{self, ADMIN};
use ::tests::envoy_config::SidecarConfig;
use ::tests::pod::Pod;
use ::tests::process::Process;
use ::tests::readiness;
use ::tests::server::PROXY_USER;
use anyhow::{Context, Result};
use serde_json::Value;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Bytes that came from upstream, of every cluster.
const RECEIVED: &str = "upstream_cx_rx_bytes_total";

/// A running Envoy.
#[derive(Debug)]
pub(crate) struct Envoy {
    process: Process,
}

impl Envoy {
    /// Starts one with a single worker; returns once it listens.
    pub(crate) fn start(pod: &Pod, config: &SidecarConfig) -> Result<Self> {
        let binary = envoy::binary().context("no Envoy: run `cargo xtask setup`, or set SIDESTEP_ENVOY")?;
        let path = pod.scratch().join("bench-envoy.json");
        let mut bootstrap = config.bootstrap(&pod.scratch().join("access.log"));
        without_access_log(&mut bootstrap);
        std::fs::write(&path, serde_json::to_string_pretty(&bootstrap)?)
            .with_context(|| format!("write {}", path.display()))?;
        let process = pod
            .command(binary)
            .user(PROXY_USER.0, PROXY_USER.1)
            .arg("--config-path")
            .arg(&path)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"])
            .spawn()?;
        let question = "/stats?filter=listener_manager.workers_started";
        readiness::http_contains(&process, ADMIN, question, "workers_started: 1", READY_WITHIN)?;
        Ok(Self { process })
    }

    /// Bytes it has received from upstream.
    pub(crate) fn received(&self) -> Result<u64> {
        let question = format!("/stats?filter={RECEIVED}");
        let answer = readiness::http_get(self.process.pod(), (0, 0), ADMIN, &question)?;
        let counters = answer.body.lines().filter(|line| line.contains(RECEIVED));
        Ok(counters.filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok()).sum())
    }
}

fn without_access_log(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.remove("access_log");
            members.values_mut().for_each(without_access_log);
        }
        Value::Array(items) => items.iter_mut().for_each(without_access_log),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_access_log_goes() {
        let mut value = json!({"a": [{"access_log": [1], "b": {"access_log": 2, "c": 3}}]});
        without_access_log(&mut value);
        assert_eq!(value, json!({"a": [{"b": {"c": 3}}]}));
    }
}
