//! Where a bench ran, and how busy it was there.

use std::process::Command;

use ::tests::{agent, envoy, sidestep};
use anyhow::Result;
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) sidestep: String,
    pub(crate) commit: String,
    pub(crate) envoy: String,
    pub(crate) nginx: String,
    pub(crate) wrk: String,
    pub(crate) h2load: String,
    pub(crate) iptables: String,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let root = agent::repository().display().to_string();
        Ok(Self {
            kernel: file("/proc/sys/kernel/osrelease"),
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cpus: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            sidestep: first_line(&sidestep::binary()?.display().to_string(), &["--version"]),
            commit: first_line("git", &["-C", &root, "describe", "--always", "--dirty"]),
            envoy: envoy::binary()
                .map(|path| first_line(&path.display().to_string(), &["--version"]))
                .and_then(|line| line.split("version: ").nth(1)?.split('/').nth(1).map(str::to_owned))
                .unwrap_or_default(),
            nginx: first_line("nginx", &["-v"]),
            wrk: first_line("wrk", &["--version"]).split(" [").next().unwrap_or_default().to_owned(),
            h2load: first_line("h2load", &["--version"]),
            iptables: first_line("iptables", &["--version"]),
            load_before: load(),
            load_after: String::new(),
        })
    }
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Versions go to stdout or to stderr.
fn first_line(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().find(|line| !line.trim().is_empty()).map(str::to_owned);
    line.unwrap_or_default().trim().to_owned()
}
