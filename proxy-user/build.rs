//! Which commit this is built from, for `--version`.

use std::{path::Path, process::Command};

/// What of the repository ends up in the program, and what says where it stands.
const LOOKED_AT: [&str; 9] = [
    "src",
    "core/src",
    "plane/src",
    "../proxy-common/src",
    "../proxy-ebpf/src",
    "../Cargo.toml",
    "../Cargo.lock",
    "../.git/index",
    "../.git/logs/HEAD",
];
/// `<commit>, <date>`: for who builds from an archive.
const GIVEN: &str = "SIDESTEP_COMMIT";

fn main() {
    for path in LOOKED_AT.iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rerun-if-env-changed={GIVEN}");
    let commit = std::env::var(GIVEN).ok().filter(|given| !given.is_empty()).or_else(of_git);
    println!("cargo::rustc-env={GIVEN}={}", commit.unwrap_or_else(|| "commit unknown".to_owned()));
}

/// The commit, whether anything was changed since, and its date.
fn of_git() -> Option<String> {
    let said = git(&["log", "-1", "--format=%h %cs", "--abbrev=12"])?;
    let (commit, date) = said.split_once(' ')?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let changed = if changed.is_empty() { "" } else { " and changes" };
    Some(format!("{commit}{changed}, {date}"))
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg("..").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
