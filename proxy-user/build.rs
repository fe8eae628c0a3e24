//! Which commit this is built from, for `--version`.

use std::{path::Path, process::Command};

/// What of the repository ends up in the program. Not where git stands: a commit that changes none of this would compile
/// everything again, and the program is still from the commit it was built at.
const LOOKED_AT: [&str; 7] = [
    "src",
    "core/src",
    "plane/src",
    "../proxy-common/src",
    "../proxy-ebpf/src",
    "../Cargo.toml",
    "../Cargo.lock",
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

/// The commit, whether anything of the program was changed since, and its date.
fn of_git() -> Option<String> {
    let said = git(&["log", "-1", "--format=%h %cs", "--abbrev=12"])?;
    let (commit, date) = said.split_once(' ')?;
    let changed = git(&[&["status", "--porcelain", "--"], &LOOKED_AT[..]].concat())?;
    let changed = if changed.is_empty() { "" } else { " and changes" };
    Some(format!("{commit}{changed}, {date}"))
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
