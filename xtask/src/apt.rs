//! Debian packages: which are missing, and installing them.

use std::{fs, os::unix::fs::MetadataExt as _};

use anyhow::{Result, anyhow, bail};

use crate::{services::Asleep, step};

/// Those of `packages` that dpkg does not call installed; all of them where there is no dpkg.
pub(crate) fn absent(packages: &[&'static str]) -> Vec<&'static str> {
    // dpkg-query exits 1 as soon as one name is unknown, and still prints the others.
    let output = step::command("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(packages)
        .output();
    let listing = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    let installed =
        |package: &str| listing.lines().any(|line| line.split_once(' ') == Some((package, "installed")));
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

/// Effective uid 0. `/proc/self` belongs to the effective user of the process.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Installs `packages`; does nothing for an empty list.
///
/// # Errors
/// Names the packages when there is no apt-get, when we are not root and when apt-get fails.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if step::find("apt-get").is_none() {
        bail!(
            "missing: {list} (names of Debian packages), and this machine has no apt-get; \
             install their equivalents by hand, then run this again"
        );
    }
    if !is_root() {
        bail!("missing packages: {list}; installing them needs root: `sudo apt-get install {list}`");
    }
    let _asleep = Asleep::begin()?;
    // A mirror of some third party being down is no reason to stop: what counts is whether the install works.
    if let Err(error) = step::run("Updating", "package lists (apt-get update)", apt_get().arg("update")) {
        step::say("Warning", format!("{error:#}"));
    }
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    step::run("Installing", &list, &mut install).map_err(|error| {
        anyhow!("could not install these packages: {list}: {error:#}; see apt-get's message above")
    })
}

fn apt_get() -> std::process::Command {
    let mut command = step::command("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    command
}
