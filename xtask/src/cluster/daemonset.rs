//! sidestep as users install it: an image, and the chart.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    init::{CNI_BIN_DIR, CNI_CONF_DIR},
    record::{Helm, Home, Node, write},
};
use crate::{dist::image, helm, workspace::Workspace};

const CHART: &str = "deploy/helm/sidestep";
const NAMESPACE: &str = "sidestep-system";
const IMAGE: &str = "docker.io/lab/sidestep:1";

pub(crate) struct DaemonSet {
    helm: Helm,
    image: PathBuf,
}

impl DaemonSet {
    /// Has the image, and the values that a user of this cluster would write.
    pub(crate) fn prepare(
        workspace: &Workspace,
        home: &Home,
        binary: &Path,
        dual_stack: bool,
    ) -> Result<Self> {
        let helm = Helm {
            program: helm::ensure(workspace)?,
            chart: workspace.root.join(CHART),
            values: home.dir.join("sidestep-values.json"),
            namespace: NAMESPACE.to_owned(),
        };
        let prepared = Self { helm, image: home.dir.join("sidestep.tar") };
        let programs = binary.parent().context("a program is in a directory")?;
        image::write(workspace, programs, IMAGE, &prepared.image)?;
        let six = if dual_stack { json!({"ISTIO_DUAL_STACK": "true"}) } else { json!({}) };
        let values = json!({
            "image": IMAGE,
            // There is no registry.
            "pullPolicy": "Never",
            "cniBinDir": CNI_BIN_DIR,
            "cniConfDir": CNI_CONF_DIR,
            "proxyEnv": six,
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        });
        write(&prepared.helm.values, &values.to_string())?;
        Ok(prepared)
    }

    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    pub(crate) fn helm(&self) -> Helm {
        self.helm.clone()
    }

    /// `helm install`, and waits until the agents are ready.
    pub(crate) fn install(&self, node: &Node) -> Result<()> {
        let Helm { program, chart, values, .. } = &self.helm;
        let [helm, chart, values] = [program, chart, values].map(|path| path.to_string_lossy());
        let in_namespace = ["--namespace", NAMESPACE];
        let install =
            [&helm, "upgrade", "--install", "sidestep", &chart, "--create-namespace", "-f", &values];
        let rollout = ["cluster", "kubectl", "rollout", "status", "daemonset/sidestep", "--timeout=180s"];
        for words in [[&install[..], &in_namespace].concat(), [&rollout[..], &in_namespace].concat()] {
            let output = node.command(&words).stdin(Stdio::null()).output().context("run nsenter")?;
            let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
            ensure!(output.status.success(), "{}: {}\n{}", words.join(" "), said(), warnings(node));
        }
        Ok(())
    }
}

/// What kubelet says of the pods that do not start.
fn warnings(node: &Node) -> String {
    let columns = "custom-columns=POD:.involvedObject.name,REASON:.reason,MESSAGE:.message";
    let words = ["get", "events", "-n", NAMESPACE, "--field-selector", "type=Warning", "-o", columns];
    let output = node.kubectl(&words).stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
