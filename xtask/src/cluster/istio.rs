//! `cluster istio`: Istio's control plane and its injector, from Istio's own chart.

use std::{
    fs::{self, File},
    io::Write as _,
    process::Stdio,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    binaries,
    record::{Cluster, write},
};
use crate::step;

#[derive(clap::Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  cargo xtask cluster istio --iptables --set meshConfig.accessLogFile=/dev/stdout"
)]
pub(crate) struct Args {
    /// Capture by istio-init and iptables, not by a CNI plugin
    #[arg(long)]
    pub(crate) iptables: bool,
    /// A value of the chart, as helm has it; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

const CHARTS: [&str; 2] = ["base", "istio-control/istio-discovery"];

pub(crate) fn run(cluster: &Cluster, args: &Args) -> Result<()> {
    let begun = Instant::now();
    let values = values(args, cluster.dual_stack)?;
    let node = cluster.node(1)?;
    let manifest = cluster.dir.join("istio.yaml");
    let mut text = Vec::from(&b"apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n"[..]);
    for chart in CHARTS {
        text.extend(render(cluster, chart, &values)?);
    }
    write(&manifest, &String::from_utf8_lossy(&text))?;
    let log = cluster.dir.join("istio.log");
    let out = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let path = manifest.to_string_lossy();
    let apply = ["apply", "--server-side", "--force-conflicts", "-f", &path];
    for arguments in [
        // A webhook whose server is not there yet would answer for its own custom resources.
        &apply[..],
        &["-n", "istio-system", "rollout", "status", "deploy/istiod", "--timeout=400s"],
        &["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"],
    ] {
        let mut command = node.kubectl(arguments);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out.try_clone()?);
        let status = command.status().context("run kubectl")?;
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(status.success(), "kubectl {}: {}", arguments.join(" "), said().trim());
    }
    let how = if args.iptables { "istio-init (iptables)" } else { "a CNI plugin" };
    step::say("Installed", format!("Istio, capture by {how} ({:.1} s)", begun.elapsed().as_secs_f64()));
    Ok(())
}

/// The manifests of one of Istio's charts.
pub(crate) fn render(cluster: &Cluster, chart: &str, values: &Value) -> Result<Vec<u8>> {
    let mut render = step::command(cluster.bin.join("chart"));
    render.args(["-kube", binaries::KUBERNETES, chart]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = render.spawn().context("run chart")?;
    let mut input = child.stdin.take().context("stdin of chart")?;
    input.write_all(values.to_string().as_bytes()).context("write the chart's values")?;
    drop(input);
    let output = child.wait_with_output().context("wait for chart")?;
    ensure!(output.status.success(), "chart {chart} failed");
    Ok(output.stdout)
}

/// Upstream Envoy lacks Istio's own filters, so nothing that needs them is on.
fn values(args: &Args, dual_stack: bool) -> Result<Value> {
    let little = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let mut values = json!({
        "global": {"hub": "docker.io/lab", "tag": "1", "proxy": {"resources": little}},
        "pilot": null, "autoscaleEnabled": false, "resources": little, "cni": {"enabled": !args.iptables},
        "telemetry": {"enabled": false},
        "env": {"PILOT_ENABLE_ALPN_FILTER": "false", "PILOT_ENABLE_METADATA_EXCHANGE": "false"},
    });
    if let Some(map) = values.as_object_mut() {
        map.remove("pilot");
    }
    if dual_stack {
        // The control plane's listeners and endpoints, and what istio-init and the sidecars do, each by a variable.
        values["env"]["ISTIO_DUAL_STACK"] = json!("true");
        values["meshConfig"] = json!({"defaultConfig": {"proxyMetadata": {"ISTIO_DUAL_STACK": "true"}}});
    }
    for setting in &args.set {
        let (key, value) = setting.split_once('=').with_context(|| format!("--set {setting}: KEY=VALUE"))?;
        // Numbers and booleans are what they look like, as for helm.
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        let mut place = &mut values;
        for part in key.split('.') {
            place = &mut place[part];
        }
        *place = value;
    }
    Ok(values)
}
