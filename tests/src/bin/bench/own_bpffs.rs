//! A bpffs for this process and what it starts: what else is attached on the machine shares no map with the bench, and
//! nothing stays pinned however it ends.

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const BPFFS: &str = "/sys/fs/bpf";

/// Mounts it over the machine's, seen by nobody else. Before any thread is started: they would stay behind.
pub(crate) fn mount_over() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare the mount namespace")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("keep mounts to ourselves")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none)
        .with_context(|| format!("mount a bpffs on {BPFFS}"))
}
