//! A cgroup for what one process starts: gone with it, or with the next one's if it was killed.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

const GONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Removed when dropped: end what runs in it first.
#[derive(Debug)]
pub struct TemporaryCgroup(PathBuf);

impl TemporaryCgroup {
    /// Makes one below `parent`, named after this process: `prefix`, its pid, `rest`. Those of the prefix whose processes are
    /// gone are removed.
    pub fn make(parent: &Path, prefix: &str, rest: &str) -> Result<Self> {
        remove_forgotten(parent, prefix);
        let path = parent.join(format!("{prefix}{}{rest}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make the cgroup {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that takes processes in.
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for TemporaryCgroup {
    fn drop(&mut self) {
        // A process that has ended may still count for a moment.
        let deadline = Instant::now() + GONE_WITHIN;
        while let Err(error) = fs::remove_dir(&self.0) {
            if Instant::now() > deadline {
                tracing::warn!("{} is still in use: {error}", self.0.display());
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

/// What killed processes left. What they had started has ended by itself.
fn remove_forgotten(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories will do.
    #[test]
    fn it_goes_and_takes_what_others_left() {
        let parent = tempfile::tempdir().unwrap();
        // No pid is so large (include/linux/threads.h: PID_MAX_LIMIT).
        let (left, other) = (parent.path().join("a-4999999-x"), parent.path().join("b-4999999"));
        fs::create_dir(&left).unwrap();
        fs::create_dir(&other).unwrap();
        let made = TemporaryCgroup::make(parent.path(), "a-", "-y").unwrap();
        assert_eq!(made.path(), parent.path().join(format!("a-{}-y", std::process::id())));
        assert!(made.path().is_dir() && !left.exists() && other.exists());
        let path = made.path().to_owned();
        drop(made);
        assert!(!path.exists());
    }
}
