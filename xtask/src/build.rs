//! `cargo xtask build`: the release binaries, with the BPF object embedded by proxy-plane's build script.

use anyhow::Result;

use crate::{setup, step, workspace::Workspace};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::bpf_toolchain(workspace)?;
    binaries(workspace)
}

/// Compiles, with the toolchain already there.
pub(crate) fn binaries(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "-p", "proxy-user", "-p", "tests", "--bins"]);
    step::run("Building", workspace.release("sidestep").display().to_string(), &mut cargo)
}
