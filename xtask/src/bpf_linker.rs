//! bpf-linker, built from crates.io against Debian's LLVM when no suitable one is found.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::{
    apt,
    bpf_toolchain::{self, OLDEST_LINKER as VERSION},
    step,
    workspace::Workspace,
};

const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LLVM_PACKAGES: [&str; 6] =
    ["llvm-22-dev", "libpolly-22-dev", "zlib1g-dev", "libzstd-dev", "libxml2-dev", "g++"];

/// The linker in target/tools or on PATH, with its version.
pub(crate) fn find(workspace: &Workspace) -> Option<(PathBuf, String)> {
    bpf_toolchain::linker(&workspace.tools())
}

/// Debian packages needed to build it; none when there is one.
pub(crate) fn absent_packages(workspace: &Workspace) -> Vec<&'static str> {
    if find(workspace).is_some() { Vec::new() } else { apt::absent(&LLVM_PACKAGES) }
}

/// Builds the linker into target/tools unless a suitable one is there.
///
/// # Errors
/// When the build fails, or its result does not run.
pub(crate) fn ensure(workspace: &Workspace) -> Result<String> {
    if let Some((linker, version)) = find(workspace) {
        return Ok(format!("{} {version}", linker.display()));
    }
    let mut install = workspace.cargo("install");
    install
        .args(["bpf-linker", "--version", VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(workspace.tools())
        .env("LLVM_PREFIX", LLVM_PREFIX)
        // Its build belongs in a temporary directory, not among the workspace's artifacts.
        .env_remove("CARGO_TARGET_DIR");
    step::run("Building", format!("bpf-linker {VERSION} (about a minute)"), &mut install)?;
    let (linker, version) = find(workspace).with_context(|| {
        format!("the bpf-linker just built into {} does not run", workspace.tools().display())
    })?;
    Ok(format!("{} {version}", linker.display()))
}
