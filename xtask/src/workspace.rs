//! Where things are: the repository, cargo's target directory, the tools we built or fetched.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::step;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

impl Workspace {
    /// Asks cargo for the target directory, so that CARGO_TARGET_DIR and every cargo config file count.
    pub(crate) fn locate() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask is not inside a workspace")?.to_path_buf();
        ensure!(
            root.join("Cargo.toml").is_file(),
            "{} is gone: this xtask was built from another clone; run `cargo clean -p xtask`",
            root.display()
        );
        let output = Command::new(step::cargo())
            .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .output()
            .context("run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let metadata: Metadata = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
        Ok(Self { root, target: metadata.target_directory })
    }

    /// A cargo command at the root of the workspace. The target directory is handed on absolute, because a
    /// relative CARGO_TARGET_DIR means something else in another working directory.
    pub(crate) fn cargo(&self, verb: &str) -> Command {
        let mut command = step::command(step::cargo());
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).arg(verb);
        command
    }

    /// The same sources, and artifacts elsewhere.
    pub(crate) fn with_target(&self, target: PathBuf) -> Self {
        Self::at(self.root.clone(), target)
    }

    /// A copy of the sources, and its artifacts.
    pub(crate) fn at(root: PathBuf, target: PathBuf) -> Self {
        Self { root, target }
    }

    /// A binary of the release profile.
    pub(crate) fn release(&self, binary: &str) -> PathBuf {
        self.release_directory().join(binary)
    }

    pub(crate) fn release_directory(&self) -> PathBuf {
        self.target.join("release")
    }

    /// Where cargo's artifacts go.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A target directory of its own for another compiler, which would else evict the host's artifacts.
    pub(crate) fn target_for(&self, purpose: &str) -> PathBuf {
        self.target.join(purpose)
    }

    /// Built and fetched tools stay in the clone, wherever the target directory is: proxy-user/plane/build.rs and
    /// the tests look for them here.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }
}
