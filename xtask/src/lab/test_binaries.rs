//! The test binaries of the crate `tests`, and which of their tests are wanted.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{machine::Machine, step, workspace::Workspace};

/// One line of cargo's `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    executable: Option<PathBuf>,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds them, for another machine those that `filters` pick; name and path of each.
pub(crate) fn binaries(
    workspace: &Workspace,
    machine: Machine,
    filters: &[String],
) -> Result<Vec<(String, PathBuf)>> {
    step::say("Building", format!("the lab's test binaries for {}", machine.of_images()));
    let manifest = workspace.root.join("tests/Cargo.toml");
    let mut cargo = workspace.cargo("test");
    cargo.args(["--release", "--no-run", "--message-format=json"]);
    if machine == Machine::here() {
        // With --package, features of dependencies would differ from those `cargo xtask test` builds with, and
        // everything would be compiled a second time.
        cargo.args(["--workspace", "--test", "*"]);
    } else {
        cargo.args(["--package", "tests"]);
        for filter in filters {
            let name = filter.split("::").next().unwrap_or_default();
            cargo.arg("--test").arg(format!("*{name}*"));
        }
        if filters.is_empty() {
            cargo.args(["--test", "*"]);
        }
        machine.target(&mut cargo);
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("run cargo test")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut found: Vec<(String, PathBuf)> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.manifest_path.as_ref() == Some(&manifest))
        .filter_map(|message| Some((message.target?, message.executable?)))
        .filter(|(target, _)| target.kind.iter().any(|kind| kind == "test"))
        .map(|(target, path)| (target.name, path))
        .collect();
    found.sort();
    Ok(found)
}

/// Takes away those of `left_out`, each of which has to be one.
pub(crate) fn leave_out(
    binaries: &mut Vec<(String, PathBuf)>,
    left_out: &BTreeMap<String, String>,
) -> Result<()> {
    for name in left_out.keys() {
        let at = binaries.iter().position(|(binary, _)| binary == name);
        binaries.remove(at.with_context(|| format!("tests/kernels.toml leaves out {name}: no such test"))?);
    }
    Ok(())
}

/// The arguments of a test binary, or `None` if no filter picks it. `dns` is binaries, `dns::udp` tests of one.
pub(crate) fn arguments(binary: &str, filters: &[String]) -> Option<Vec<String>> {
    // What a test that was skipped printed is shown only this way.
    let mut args = vec!["--show-output".to_owned(), "--test-threads=2".to_owned()];
    if filters.is_empty() {
        return Some(args);
    }
    let mut picked = false;
    for filter in filters {
        match filter.split_once("::") {
            Some((name, test)) if name == binary => {
                picked = true;
                args.push(test.to_owned());
            }
            None if binary.contains(filter.as_str()) => return Some(args[..2].to_vec()),
            _ => {}
        }
    }
    picked.then_some(args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_left_out() {
        let named =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "why".to_owned())).collect();
        let mut binaries = ["dns", "lab", "tproxy"].map(|name| (name.to_owned(), PathBuf::new())).to_vec();
        leave_out(&mut binaries, &named(&["lab"])).unwrap();
        assert_eq!(binaries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["dns", "tproxy"]);
        let error = leave_out(&mut binaries, &named(&["dsn"])).unwrap_err().to_string();
        assert!(error.contains("dsn"), "{error}");
    }

    #[test]
    fn filters_name_binaries_or_tests() {
        let of = |binary, filters: &[&str]| {
            arguments(binary, &filters.iter().map(|filter| (*filter).to_owned()).collect::<Vec<_>>())
                .map(|args| args[2..].join(" "))
        };
        assert_eq!(of("dns", &[]).as_deref(), Some(""));
        assert_eq!(of("dns", &["verify"]), None);
        assert_eq!(of("dns", &["verify", "dns::udp", "dns::tcp"]).as_deref(), Some("udp tcp"));
        assert_eq!(of("lab_sidecar", &["lab"]).as_deref(), Some(""));
    }
}
