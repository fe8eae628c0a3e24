//! The one image of the tests: `lab-agent` with its libraries. No registry is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::agent;

pub(crate) const IMAGE: &str = "sidestep.test/lab:1";
/// Where the image has `lab-agent`.
pub(crate) const PROGRAM: &str = "/lab-agent";

/// Packs it; the archive is what `ctr images import` takes.
pub(crate) fn pack(directory: &Path) -> Result<PathBuf> {
    let root = directory.join("image");
    fs::create_dir(&root).context("a directory for the image")?;
    let program = agent::path()?;
    put(&program, &root.join(PROGRAM.trim_start_matches('/')))?;
    for library in libraries(&program)? {
        put(&library, &root.join(library.strip_prefix("/")?))?;
    }
    let layer = directory.join("layer.tar");
    said(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&layer).arg("."))?;
    let sum = said(Command::new("sha256sum").arg(&layer))?;
    let sum = sum.split(' ').next().context("sha256sum printed nothing")?;
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": { "Cmd": [PROGRAM, "pause"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(directory.join("config.json"), config.to_string()).context("the image's configuration")?;
    fs::write(directory.join("manifest.json"), manifest.to_string()).context("the image's manifest")?;
    let archive = directory.join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(directory).arg("-cf").arg(&archive);
    said(tar.args(["config.json", "manifest.json", "layer.tar"]))?;
    Ok(archive)
}

/// As images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What the dynamic linker would load, and the dynamic linker.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = said(Command::new("ldd").arg(program))?;
    Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn put(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().context("no file's place")?).context("a directory of the image")?;
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}

/// What the command prints; an error unless it succeeds.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
