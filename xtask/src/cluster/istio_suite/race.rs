//! TestCNIRaceRepair: it deletes the DaemonSet of istio-cni, by its name, and wants to see that a pod which starts then does
//! not run, and does once the DaemonSet is back. Here sidestep's has that name.

use anyhow::{Context as _, Result};

use super::install::quietly;
use crate::cluster::record::Cluster;

pub(super) const TEST: &str = "TestCNIRaceRepair";
/// For this test alone: told that there is istio-cni, the suite leaves out cases of DNS.
pub(super) const FLAG: &str = "--istio.test.istio.enableCNI";
/// What the test looks for, and where.
const NAME: &str = "istio-cni-node";
const NAMESPACE: &str = "istio-system";

/// Installs sidestep once more, as istio-cni is called. Pods that run stay captured.
pub(super) fn rename(cluster: &Cluster) -> Result<()> {
    let node = cluster.node(1)?;
    let helm = cluster.helm.as_ref().context("sidestep is not installed by Helm")?;
    let [program, chart, values] =
        [&helm.program, &helm.chart, &helm.values].map(|path| path.to_string_lossy());
    quietly(&mut node.command(&[&program, "uninstall", "sidestep", "-n", &helm.namespace, "--wait"]))?;
    let install = [&program, "install", NAME, &chart, "-n", NAMESPACE, "-f", &values];
    quietly(&mut node.command(&install))?;
    let daemonset = format!("daemonset/{NAME}");
    quietly(&mut node.kubectl(&["rollout", "status", &daemonset, "-n", NAMESPACE, "--timeout=180s"]))
}
