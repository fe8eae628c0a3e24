//! A container image of one directory, as an archive containerd imports; no container engine is asked for.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::step;

/// What an image has beside its files.
pub(crate) struct Image {
    pub(crate) name: &'static str,
    pub(crate) user: &'static str,
    /// Containers give their own arguments: the program is the entry point.
    pub(crate) entrypoint: &'static [&'static str],
    /// Containers give their own command.
    pub(crate) command: &'static [&'static str],
}

/// The tree of an image that is being made.
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
        }
        for dir in ["tmp", "etc", "proc", "sys", "dev"] {
            fs::create_dir_all(root.join(dir)).with_context(|| format!("create {}", root.display()))?;
        }
        let tree = Self { root };
        tree.write("etc/passwd", "root:x:0:0::/:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\n")?;
        tree.write("etc/group", "root:x:0:\nistio-proxy:x:1337:\n")?;
        Ok(tree)
    }

    fn place(&self, to: &str) -> Result<PathBuf> {
        let path = self.root.join(to.trim_start_matches('/'));
        let parent = path.parent().context("a path without a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        Ok(path)
    }

    fn write(&self, to: &str, text: &str) -> Result<()> {
        fs::write(self.place(to)?, text).with_context(|| format!("write {to}"))
    }

    /// A copy of `from`, of what it points to if it is a link.
    pub(crate) fn copy(&self, from: &Path, to: &str) -> Result<()> {
        fs::copy(from, self.place(to)?).with_context(|| format!("copy {} to {to}", from.display()))?;
        Ok(())
    }

    pub(crate) fn link(&self, to: &str, target: &str) -> Result<()> {
        symlink(target, self.place(to)?).with_context(|| format!("link {to}"))
    }

    /// Writes the archive, and removes the tree.
    pub(crate) fn pack(self, image: &Image, archive: &Path) -> Result<()> {
        let work = self.root.with_extension("parts");
        fs::create_dir_all(&work).with_context(|| format!("create {}", work.display()))?;
        let layer = work.join("layer.tar");
        let mut tar = step::command("tar");
        tar.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=a+rX"])
            .arg("-C")
            .arg(&self.root)
            .arg("-cf")
            .arg(&layer)
            .arg(".");
        ensure!(tar.status().context("run tar")?.success(), "tar of {} failed", image.name);
        let digest = step::ask("sha256sum", &[&layer.to_string_lossy()]).context("run sha256sum")?;
        let digest = digest.split(' ').next().unwrap_or_default();
        let mut config = json!({
            "User": image.user,
            "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        if !image.entrypoint.is_empty() {
            config["Entrypoint"] = json!(image.entrypoint);
        }
        if !image.command.is_empty() {
            config["Cmd"] = json!(image.command);
        }
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "lab"}],
        });
        let tag = format!("lab/{}:1", image.name);
        let manifest = json!([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]);
        fs::write(work.join("config.json"), config.to_string()).context("write the image's config")?;
        fs::write(work.join("manifest.json"), manifest.to_string()).context("write the image's manifest")?;
        let mut tar = step::command("tar");
        tar.arg("-C").arg(&work).arg("-cf").arg(archive).args(["manifest.json", "config.json", "layer.tar"]);
        ensure!(tar.status().context("run tar")?.success(), "tar of {} failed", image.name);
        for dir in [&work, &self.root] {
            fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        }
        Ok(())
    }
}
