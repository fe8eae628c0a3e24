//! The chart, `deploy/helm/sidestep`, under real Helm; and what Kubernetes' schemas say of what it becomes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent::repository;
use crate::sidestep::{Ended, ended_command};

/// Of the schemas, and what the chart is told.
pub const KUBERNETES: &str = "1.37";
/// A registry that there is not.
pub const HUB: &str = "hub=registry.example.com/mesh";

fn binary() -> PathBuf {
    repository().join("target/tools/helm/helm")
}

/// Modules of Python.
fn validator() -> PathBuf {
    repository().join("target/tools/kubernetes-validate")
}

pub(crate) fn missing() -> Option<String> {
    let there = binary().is_file() && validator().join("kubernetes_validate").is_dir();
    (!there).then(|| "no Helm, or no kubernetes-validate: `cargo xtask setup`".to_owned())
}

pub fn chart() -> PathBuf {
    repository().join("deploy/helm/sidestep")
}

/// The files with a platform's values, by their names.
pub fn platforms() -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(chart().join("platforms")).context("list the platforms")?;
    let mut found = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// `helm VERB sidestep CHART`, without a cluster; `lint` has no release.
pub fn helm(verb: &str, flags: &[&str]) -> Result<Ended> {
    let home = tempfile::tempdir().context("a home for Helm")?;
    let mut command = Command::new(binary());
    command.arg(verb).args((verb != "lint").then_some("sidestep")).arg(chart()).args(flags);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    ended_command(command)
}

/// What `helm template` makes of these values and flags.
pub fn template(flags: &[&str]) -> Result<String> {
    let always = ["--namespace", "sidestep-system", "--kube-version", KUBERNETES, "--set", HUB];
    let ended = helm("template", &[&always[..], flags].concat())?;
    ensure!(ended.code == Some(0), "helm template {flags:?}: {}", ended.stderr);
    Ok(ended.stdout)
}

/// The documents of a text of YAML.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    const SCRIPT: &str = "import json, sys, yaml\n\
        print(json.dumps([it for it in yaml.safe_load_all(sys.stdin) if it is not None]))";
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", validator())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("run python3")?;
    python.stdin.take().context("its standard input")?.write_all(yaml.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "this is no YAML: {yaml}");
    serde_json::from_slice(&output.stdout).context("what python has made of it")
}

/// What these values become.
pub fn rendered(flags: &[&str]) -> Result<Vec<Value>> {
    documents(&template(flags)?)
}

/// The one document of this kind.
pub fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Result<&'a Value> {
    let mut found = documents.iter().filter(|it| it["kind"] == kind);
    let one = found.next().with_context(|| format!("no {kind}"))?;
    ensure!(found.next().is_none(), "more than one {kind}");
    Ok(one)
}

/// Holds manifests against the schemas of Kubernetes; fields that these do not have are faults.
pub fn validate(manifests: &str) -> Result<Ended> {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().context("a file")?;
    file.write_all(manifests.as_bytes())?;
    let mut command = Command::new("python3");
    command
        .args(["-m", "kubernetes_validate", "--strict", "-k", KUBERNETES])
        .arg(file.path())
        .env("PYTHONPATH", validator());
    ended_command(command)
}
