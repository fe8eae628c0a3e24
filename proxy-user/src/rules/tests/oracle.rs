//! Every rule set of ../shared/oracle/rules against `render` of its flags.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use serde::Deserialize;

use crate::{
    config::{Environment, IstioFlags, NoHost},
    rules::render,
};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    istio: IstioFlags,
}

#[derive(Deserialize)]
struct Case {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

#[test]
fn rule_sets_equal_istios() {
    let folder = folder();
    let Ok(configs) = fs::read_to_string(folder.join("configs.json")) else {
        eprintln!("skipped: no oracle folder ({}; set SIDESTEP_ORACLE)", folder.display());
        return;
    };
    let cases: BTreeMap<String, Case> = serde_json::from_str(&configs).expect("configs.json");
    assert!(!cases.is_empty());
    for (name, case) in cases {
        let rules = fs::read_to_string(folder.join(format!("rules/{name}.txt"))).expect(&name);
        let args = ["rules".to_owned()].into_iter().chain(case.args);
        let flags = Cli::try_parse_from(args).expect(&name).istio;
        let config = flags.resolve(&Environment::from_iter(case.env), &NoHost).expect(&name).config;
        assert_eq!(render(&config), normalised(&rules), "{name}");
    }
}

fn folder() -> PathBuf {
    match env::var_os("SIDESTEP_ORACLE") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"),
    }
}

/// Without the framing lines, `* nat` as `*nat`, and the group names java and ftp as the gids that stand for them in
/// configs.json.
fn normalised(rules: &str) -> String {
    rules
        .lines()
        .filter(|line| !matches!(*line, "iptables-save" | "ip6tables-save"))
        .map(|line| match line.strip_prefix("* ") {
            Some(table) => format!("*{table}\n"),
            None => format!("{line}\n"),
        })
        .collect::<String>()
        .replace("--gid-owner java ", "--gid-owner 203 ")
        .replace("--gid-owner ftp ", "--gid-owner 204 ")
}
