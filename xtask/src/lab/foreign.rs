//! What guests of another machine than this one run: this project's programs, built here for it, and those of others, out of
//! Debian packages for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{archive::Archive, declared};
use crate::{machine::Machine, step, workspace::Workspace};

/// Builds them; the directory they are in.
pub(crate) fn programs(workspace: &Workspace, machine: Machine) -> Result<PathBuf> {
    machine.prepare()?;
    let mut cargo = workspace.cargo("build");
    cargo.args([
        "--release",
        "--package",
        "proxy-user",
        "--package",
        "proxy-cni",
        "--package",
        "tests",
        "--bins",
    ]);
    machine.target(&mut cargo);
    step::run("Building", format!("the programs for {}", machine.of_images()), &mut cargo)?;
    Ok(workspace.target_for(machine.triple()).join("release"))
}

/// Unpacks them; the directory they are in.
pub(crate) fn others(declared: &declared::Foreign, machine: Machine, dir: &Path) -> Result<PathBuf> {
    Archive::new(&dir.join(format!("system-{}", machine.of_images())), &declared.archive, machine)
        .fetch(|archive| archive.closure(&declared.packages), |_| Ok(()))
        .with_context(|| format!("programs for {}", machine.of_images()))
}
