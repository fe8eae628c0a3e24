//! Earlier builds of sidestep, whose workloads the one of today has to take over: built from this repository's history.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{step, workspace::Workspace};

/// The last commits of two layouts of maps (tests/tests/takeover.rs).
const COMMITS: [&str; 2] = ["ed72cc4", "f897d0b"];

/// Builds those that are not there yet. Where the history does not reach back that far, tests skip, and are counted.
pub(crate) fn prepare(workspace: &Workspace) -> Result<()> {
    let root = workspace.root.display().to_string();
    let dir = workspace.target_for("earlier");
    for commit in COMMITS {
        let binary = dir.join(commit).join("sidestep");
        if binary.is_file() {
            continue;
        }
        let object = format!("{commit}^{{commit}}");
        if step::ask("git", &["-C", &root, "rev-parse", "--verify", "--quiet", &object]).is_none() {
            step::say("Skipping", format!("the build of {commit}: not in this clone's history"));
            continue;
        }
        let source = dir.join("source");
        if source.exists() {
            fs::remove_dir_all(&source).with_context(|| format!("remove {}", source.display()))?;
        }
        fs::create_dir_all(&source).with_context(|| format!("make {}", source.display()))?;
        let archive = dir.join("source.tar");
        let mut pack = step::command("git");
        pack.args(["-C", &root, "archive", "--output"]).arg(&archive).arg(commit);
        step::run("Packing", format!("the sources of {commit}"), &mut pack)?;
        let mut unpack = step::command("tar");
        unpack.arg("-xf").arg(&archive).arg("-C").arg(&source);
        step::run("Unpacking", format!("the sources of {commit}"), &mut unpack)?;
        // The BPF linker is where its build script looks for it.
        let tools = source.join("target");
        fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
        std::os::unix::fs::symlink(workspace.target_for("tools"), tools.join("tools"))
            .context("link the tools")?;
        let target = dir.join("target");
        let mut build = step::command(step::cargo());
        build.current_dir(&source).env("CARGO_TARGET_DIR", &target).args([
            "build",
            "--locked",
            "--release",
            "--package",
            "proxy-user",
        ]);
        step::run("Building", format!("sidestep of {commit}"), &mut build)?;
        fs::create_dir_all(dir.join(commit)).context("make its directory")?;
        fs::copy(target.join("release/sidestep"), &binary)
            .with_context(|| format!("keep {}", binary.display()))?;
        fs::remove_dir_all(&source).with_context(|| format!("remove {}", source.display()))?;
        fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    }
    Ok(())
}
