//! `cluster down`: everything a cluster is, or was when its `up` was killed.

use std::{fs, io::ErrorKind, path::Path, time::Instant};

use anyhow::{Context as _, Result};

use super::{cgroup, inotify, record::Home};
use crate::step;

pub(crate) fn run(home: &Home) -> Result<()> {
    let _lock = home.lock()?;
    if !home.dir.exists() && cgroup::members(&home.cgroup).is_empty() {
        step::say("Nothing", format!("there is no cluster {}", home.name));
    }
    let begun = Instant::now();
    clean(home)?;
    step::say("Ended", format!("cluster {} ({:.1} s)", home.name, begun.elapsed().as_secs_f64()));
    Ok(())
}

/// Nothing is left of the cluster after this.
pub(crate) fn clean(home: &Home) -> Result<()> {
    cgroup::end(&home.cgroup)?;
    inotify::restore(&home.dir)?;
    remove(&home.dir)
}

/// The logs stay, for whoever asks why `up` failed.
pub(crate) fn clean_keeping_logs(home: &Home) -> Result<()> {
    cgroup::end(&home.cgroup)?;
    inotify::restore(&home.dir)?;
    for dir in fs::read_dir(&home.dir).into_iter().flatten().flatten() {
        ["containerd", "kubelet", "opt"].iter().try_for_each(|part| remove(&dir.path().join(part)))?;
    }
    remove(&home.dir.join("etcd"))
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error).with_context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
