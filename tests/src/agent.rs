//! Where the helper binary `lab-agent` is. It runs whatever has to be one process in a pod: joining a cgroup is per
//! process, so a multi-threaded test cannot do it itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Path of `lab-agent`: `SIDESTEP_LAB_AGENT`, else next to the running binary (or its parent, for `deps/`).
pub fn path() -> Result<PathBuf> {
    beside_current_exe("SIDESTEP_LAB_AGENT", "lab-agent")
        .context("lab-agent is missing: run `cargo build -p tests`, or set SIDESTEP_LAB_AGENT")
}

/// A binary named by an environment variable, or built into the same target directory as the running one.
pub(crate) fn beside_current_exe(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let exe = std::env::current_exe().ok()?;
    exe.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Root of the repository this crate was built from.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}
