//! Earlier builds of sidestep, whose workloads the one of today has to take over: built from this repository's history.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::{step, workspace::Workspace};

/// The last commits of two layouts of maps (tests/tests/takeover.rs).
const COMMITS: [&str; 2] = ["ed72cc4", "f897d0b"];

/// Builds those that are not there yet. Where the history does not reach back that far, or one does not build here any
/// more, its tests skip, and are counted.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    let dir = workspace.target_for("earlier");
    for commit in COMMITS {
        if dir.join(commit).join("sidestep").is_file() {
            continue;
        }
        if !is_known(workspace, commit) {
            step::say("Skipping", format!("the build of {commit}: not in this clone's history"));
        } else if let Err(error) = build(workspace, &dir, commit) {
            step::say("Skipping", format!("the build of {commit}: {error:#}"));
        }
    }
    // A gigabyte that nobody needs any more.
    remove(&dir.join("target"))
}

fn is_known(workspace: &Workspace, commit: &str) -> bool {
    let root = workspace.root.display().to_string();
    let object = format!("{commit}^{{commit}}");
    step::ask("git", &["-C", &root, "rev-parse", "--verify", "--quiet", &object]).is_some()
}

fn build(workspace: &Workspace, dir: &Path, commit: &str) -> Result<()> {
    let (source, archive, target) = (dir.join("source"), dir.join("source.tar"), dir.join("target"));
    remove(&source)?;
    fs::create_dir_all(&source).with_context(|| format!("make {}", source.display()))?;
    let mut pack = step::command("git");
    pack.arg("-C").arg(&workspace.root).args(["archive", "--output"]).arg(&archive).arg(commit);
    step::run("Packing", format!("the sources of {commit}"), &mut pack)?;
    // Both are unpacked at one place, and built in one target directory: cargo goes by the files' times, and those of a
    // commit are older than the build of the other one.
    let mut unpack = step::command("tar");
    unpack.args(["--touch", "-xf"]).arg(&archive).arg("-C").arg(&source);
    step::run("Unpacking", format!("the sources of {commit}"), &mut unpack)?;
    // The BPF linker is where its build script looks for it.
    let tools = source.join("target");
    fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
    std::os::unix::fs::symlink(workspace.target_for("tools"), tools.join("tools"))
        .context("link the tools")?;
    let mut cargo = step::command(step::cargo());
    cargo.current_dir(&source).env("CARGO_TARGET_DIR", &target).args([
        "build",
        "--locked",
        "--release",
        "--package",
        "proxy-user",
    ]);
    step::run("Building", format!("sidestep of {commit}"), &mut cargo)?;
    let place = dir.join(commit);
    fs::create_dir_all(&place).with_context(|| format!("make {}", place.display()))?;
    fs::copy(target.join("release/sidestep"), place.join("sidestep")).context("keep the binary")?;
    remove(&source)?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
