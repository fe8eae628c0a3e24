//! What a real kernel did under Istio's own rule sets: `tests/oracle`. What is not there is an error, never a skip.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::agent;

/// The flags and environment of istio-iptables that make a rule set.
#[derive(Debug, Deserialize)]
pub struct Case {
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// A connection, and who accepted it.
#[derive(Debug, Deserialize)]
pub struct Row {
    pub proto: String,
    pub uid: u32,
    pub gid: u32,
    pub src: Option<IpAddr>,
    pub dst: IpAddr,
    pub dport: u16,
    /// `pod` or `peer`: where it begins.
    pub ns: String,
    /// A port of the sidecar, `app:PORT`, `ext:PORT`, or `ERR:ERRNO`.
    pub who: String,
}

/// Every rule set, by name.
pub fn cases() -> Result<BTreeMap<String, Case>> {
    serde_json::from_str(&read("configs.json")?).context("configs.json")
}

/// The text of a rule set.
pub fn rules(name: &str) -> Result<String> {
    read(&format!("rules/{name}.txt"))
}

/// The connections made under it.
pub fn rows(name: &str) -> Result<Vec<Row>> {
    let text = read(&format!("vectors/{name}.jsonl"))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{name}: {line}"))).collect()
}

fn directory() -> PathBuf {
    agent::repository().join("tests/oracle")
}

fn read(file: &str) -> Result<String> {
    let path = directory().join(file);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;

    /// As `tests/oracle/README.md` says.
    #[test]
    fn every_rule_set_has_flags_and_connections() {
        let named: BTreeSet<String> = cases().unwrap().into_keys().collect();
        for (folder, end) in [("rules", ".txt"), ("vectors", ".jsonl")] {
            let files = fs::read_dir(directory().join(folder)).unwrap();
            let found = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            let found: BTreeSet<String> =
                found.map(|name| name.strip_suffix(end).expect(&name).to_owned()).collect();
            assert_eq!(found, named, "{folder}");
        }
        let rows: usize = named.iter().map(|name| rows(name).unwrap().len()).sum();
        assert_eq!((named.len(), rows), (25, 2_872));
    }
}
