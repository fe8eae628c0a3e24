//! A cgroup for the probes below the workload's: in Kubernetes the pod's own directory takes no processes
//! (Documentation/admin-guide/cgroup-v2.rst: no internal process constraint), and below it they are the workload's too.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

const PREFIX: &str = "sidestep-verify-";
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Removed when dropped; drop the probes first.
#[derive(Debug)]
pub(super) struct ProbeCgroup(PathBuf);

impl ProbeCgroup {
    pub(super) fn below(cgroup: &Path) -> Result<Self> {
        remove_forgotten(cgroup);
        let path = cgroup.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make the probes' cgroup {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for ProbeCgroup {
    fn drop(&mut self) {
        // A process that has ended may still count for a moment.
        let deadline = Instant::now() + GONE_WITHIN;
        while let Err(error) = fs::remove_dir(&self.0) {
            if Instant::now() > deadline {
                tracing::warn!(cgroup = %self.0.display(), %error, "the probes' cgroup stays");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a killed verification left. Its processes have ended by themselves.
fn remove_forgotten(cgroup: &Path) {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}
