//! Istio as its own tests want it, and their images.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::build::{Built, DIRECTORY, HUB};
use crate::{
    cluster::{istio, record::Cluster},
    step,
};

/// `base.yaml` of Istio's integration tests, as values of its chart.
const SETTINGS: [&str; 8] = [
    "meshConfig.defaultHttpRetryPolicy={}",
    "meshConfig.accessLogFile=/dev/stdout",
    "meshConfig.defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE=\"true\"",
    "keepaliveMaxServerConnectionAge=120s",
    "env.ENABLE_EXTERNAL_NAME_ALIAS=\"true\"",
    "env.UNSAFE_ENABLE_ADMIN_ENDPOINTS=\"true\"",
    "env.PILOT_REMOTE_CLUSTER_TIMEOUT=15s",
    "env.PILOT_ENABLE_ALPHA_GATEWAY_API=\"true\"",
];
/// Below the directory of the tests.
const GATEWAY_API: &str = "testdata/gateway-api-crd.yaml";
/// `iop-integration-test-defaults.yaml`: name, port of the service, port of the pod.
const INGRESS_PORTS: [(&str, u16, u16); 7] = [
    ("status-port", 15021, 15021),
    ("http2", 80, 8080),
    ("https", 443, 8443),
    ("tls", 15443, 15443),
    ("tls-istiod", 15012, 15012),
    ("tls-webhook", 15017, 15017),
    ("tcp", 31400, 31400),
];

pub(super) fn images(cluster: &Cluster, built: &Built) -> Result<()> {
    for node in &cluster.nodes {
        let ctr = |words: &[&str]| {
            quietly(&mut node.command(&[&["ctr", "-n", "k8s.io", "images"], words].concat()))
        };
        for image in &built.images {
            ctr(&["import", &image.archive.to_string_lossy()])?;
            ctr(&["tag", "--force", &image.made_as, image.name])?;
        }
        for name in ["pilot", "proxyv2"] {
            ctr(&["tag", "--force", &format!("docker.io/lab/{name}:1"), &format!("{HUB}/{name}:1")])?;
        }
    }
    Ok(())
}

/// The Gateway API's resources, the control plane, for istio-init or for a CNI plugin, and the two gateways.
pub(super) fn istio(cluster: &Cluster, built: &Built, iptables: bool) -> Result<()> {
    let node = cluster.node(1)?;
    let crds = built.module.join(DIRECTORY).join(GATEWAY_API);
    // Here, because the first test that uses them does not bring them.
    let apply_crds = ["apply", "--server-side", "-f", &crds.to_string_lossy()];
    quietly(&mut node.kubectl(&apply_crds))?;
    let set = SETTINGS.map(str::to_owned).into();
    istio::run(cluster, &istio::Args { iptables, set })?;
    for chart in ["ingress", "egress"] {
        let name = format!("istio-{chart}gateway");
        let manifest = istio::render(cluster, &format!("gateways/istio-{chart}"), &gateway(&name))?;
        node.apply(&manifest, &["--server-side", "--force-conflicts"])?;
        let deployment = format!("deployment/{name}");
        quietly(&mut node.kubectl(&[
            "-n",
            "istio-system",
            "rollout",
            "status",
            &deployment,
            "--timeout=300s",
        ]))?;
    }
    step::say("Installed", "its gateways, for ingress and egress");
    Ok(())
}

fn gateway(name: &str) -> Value {
    let mut values = json!({
        "autoscaleEnabled": false,
        "resources": {"requests": {"cpu": "10m", "memory": "40Mi"}},
    });
    if name.contains("ingress") {
        let port = |(name, port, target): (&str, u16, u16)| json!({"name": name, "port": port, "targetPort": target});
        values["ports"] = json!(INGRESS_PORTS.map(port));
    }
    json!({"global": {"hub": "docker.io/lab", "tag": "1"}, "gateways": {name: values}})
}

pub(super) fn quietly(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("run nsenter")?;
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    ensure!(
        output.status.success(),
        "{}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
