//! More Istios beside the cluster's: the cluster's leaves capture to the CNI plugin, these put istio-init into their pods.
//! One control plane can do one of both.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Cluster;

/// The one of [`super::way::Way::Iptables`].
pub const NAME: &str = "init";

/// Installs one with more values of its chart, in YAML; returns once it injects.
pub fn install(cluster: &Cluster, name: &str, more: &str) -> Result<()> {
    let little = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    // As xtask's for the first: upstream Envoy lacks Istio's own filters.
    let mut values = json!({
        "revision": name,
        "global": {"hub": "docker.io/lab", "tag": "1", "proxy": {"resources": little}},
        "autoscaleEnabled": false, "resources": little, "cni": {"enabled": false},
        "telemetry": {"enabled": false},
        "env": {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"},
    });
    if cluster.dual_stack {
        values["env"]["ISTIO_DUAL_STACK"] = json!("true");
        values["meshConfig"] = json!({"defaultConfig": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}});
    }
    // What is JSON is YAML.
    let lines = values.as_object().into_iter().flatten().map(|(key, value)| format!("{key}: {value}\n"));
    cluster.apply("istio-system", &render(cluster, &lines.chain([more.to_owned()]).collect::<String>())?)?;
    let deployment = format!("deploy/istiod-{name}");
    cluster.kubectl(&["-n", "istio-system", "rollout", "status", &deployment, "--timeout=240s"])?;
    Ok(())
}

/// Ends it.
pub fn remove(cluster: &Cluster, name: &str) -> Result<()> {
    let of_it = format!("istio.io/rev={name}");
    let kinds = "deploy,service,configmap,serviceaccount,mutatingwebhookconfigurations,validatingwebhookconfigurations";
    cluster.kubectl(&["-n", "istio-system", "delete", "--wait=false", kinds, "-l", &of_it]).map(drop)
}

fn render(cluster: &Cluster, values: &str) -> Result<String> {
    let mut chart = cluster.command(&["chart", "istio-control/istio-discovery"]);
    chart.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = chart.spawn().context("run chart")?;
    child.stdin.take().context("stdin of chart")?.write_all(values.as_bytes())?;
    let output = child.wait_with_output().context("wait for chart")?;
    ensure!(output.status.success(), "chart: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("the chart is no text")
}
