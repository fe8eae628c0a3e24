//! A bpffs of a test's own: what `detach --all` removes there is nobody else's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::any_reader;
use crate::pod::Pod;
use crate::sidestep;

/// The environment variable that names it to sidestep.
pub const VARIABLE: &str = "SIDESTEP_BPFFS";

/// Where sidestep pins when nobody says otherwise.
pub(crate) fn directory() -> PathBuf {
    PathBuf::from(std::env::var_os(VARIABLE).unwrap_or_else(|| "/sys/fs/bpf".into())).join("sidestep")
}

/// A mounted bpffs; goes with this value, and what only its pins held with it.
#[derive(Debug)]
pub struct PinRoot {
    directory: tempfile::TempDir,
}

impl PinRoot {
    /// Mounts one.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("lab-bpffs").tempdir().context("make a directory")?;
        let none: Option<&str> = None;
        mount(Some("bpf"), directory.path(), Some("bpf"), MsFlags::empty(), none).context("mount a bpffs")?;
        Ok(Self { directory })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What sidestep has pinned in it.
    pub fn pins(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories = vec![self.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                    // Two files of the kernel's own, in every bpffs that is not inside a user namespace.
                    Ok(_) if entry.path().extension().is_some_and(|name| name == "debug") => {}
                    _ => found.push(entry.path()),
                }
            }
        }
        found
    }

    /// `sidestep` with these arguments, with its pins here.
    pub fn command(&self, args: &[&str]) -> Result<std::process::Command> {
        let mut command = std::process::Command::new(sidestep::binary()?);
        command.args(args).env(VARIABLE, self.path());
        Ok(command)
    }

    /// `sidestep <verb> --netns .. --cgroup ..` for `pod`.
    pub fn for_pod(&self, verb: &[&str], pod: &Pod) -> Result<std::process::Command> {
        let mut command = self.command(verb)?;
        command.args(sidestep::workload(pod));
        Ok(command)
    }

    /// Attaches `pod` with these flags, words of [`any_reader`] among them or not.
    pub fn attach(&self, pod: &Pod, flags: &[&str]) -> Result<()> {
        let (flags, bits) = any_reader::of_product(flags);
        let ended = sidestep::ended_command(self.for_pod(&[&["attach"], &*flags].concat(), pod)?)?;
        ensure!(ended.code == Some(0), "{ended:?}");
        if bits != 0 {
            let slot = self.status_of(pod)?["meta"]["slot"].as_u64().context("status says no slot")?;
            any_reader::allow(&self.path().join("sidestep"), slot, bits)?;
        }
        Ok(())
    }

    /// What `sidestep status` says of `pod`.
    pub fn status_of(&self, pod: &Pod) -> Result<serde_json::Value> {
        let ended = sidestep::ended_command(self.command(&sidestep::STATUS_JSON)?)?;
        sidestep::of_status(&ended, pod)
    }

    /// Where one of the node's maps is pinned.
    pub fn node_map(&self, map: &str) -> Result<PathBuf> {
        sidestep::node_map_in(&self.path().join("sidestep"), map)
    }
}

impl Drop for PinRoot {
    fn drop(&mut self) {
        // Links that are still pinned keep their programs attached until the mount is gone.
        if let Err(error) = umount2(self.path(), MntFlags::MNT_DETACH) {
            eprintln!("lab: unmount {}: {error}", self.path().display());
        }
    }
}
