//! A second Istio beside the cluster's: the cluster's leaves capture to the CNI plugin, this one puts istio-init into its
//! pods. One control plane can do one of both.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Cluster;

pub const NAME: &str = "init";

/// Installs it; returns once it injects.
pub fn install(cluster: &Cluster) -> Result<()> {
    let little = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    // As xtask's for the first: upstream Envoy lacks Istio's own filters.
    let mut values = json!({
        "revision": NAME,
        "global": {"hub": "docker.io/lab", "tag": "1", "proxy": {"resources": little}},
        "autoscaleEnabled": false, "resources": little, "cni": {"enabled": false},
        "telemetry": {"enabled": false},
        "env": {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"},
    });
    if cluster.dual_stack {
        values["env"]["ISTIO_DUAL_STACK"] = json!("true");
        values["meshConfig"] = json!({"defaultConfig": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}});
    }
    let mut chart = cluster.command(&["chart", "istio-control/istio-discovery"]);
    chart.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = chart.spawn().context("run chart")?;
    child.stdin.take().context("stdin of chart")?.write_all(values.to_string().as_bytes())?;
    let output = child.wait_with_output().context("wait for chart")?;
    ensure!(output.status.success(), "chart: {}", String::from_utf8_lossy(&output.stderr).trim());
    cluster.apply("istio-system", &String::from_utf8_lossy(&output.stdout))?;
    let deployment = format!("deploy/istiod-{NAME}");
    cluster.kubectl(&["-n", "istio-system", "rollout", "status", &deployment, "--timeout=240s"])?;
    Ok(())
}
