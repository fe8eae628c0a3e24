//! Where the helper binary `lab-agent` is. It runs whatever has to be one process in a pod: joining a cgroup is per
//! process, so a multi-threaded test cannot do it itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Path of `lab-agent`: `SIDESTEP_LAB_AGENT`, else next to the running binary (or its parent, for `deps/`).
pub fn path() -> Result<PathBuf> {
    std::env::var_os("SIDESTEP_LAB_AGENT")
        .map(PathBuf::from)
        .or_else(|| beside_current_exe("lab-agent"))
        .context("lab-agent is missing: run `cargo build -p tests`, or set SIDESTEP_LAB_AGENT")
}

/// A binary built into the same target directory as the running one.
pub(crate) fn beside_current_exe(name: &str) -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Root of the repository this crate was built from.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}
