//! The cluster's cgroups, at the same path of every hierarchy the machine has: kubelet wants its root there before it
//! starts, and whatever the cluster runs is found there when it has to end.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Mounted hierarchies.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchies {
    v1: Vec<PathBuf>,
    unified: Option<PathBuf>,
}

impl Hierarchies {
    fn mounted() -> Result<Self> {
        Ok(parse(&fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?))
    }

    fn all(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.iter().chain(&self.unified)
    }
}

/// `… <mount point> <options> - <type> <source> <options>`; see proc_pid_mountinfo(5).
fn parse(mountinfo: &str) -> Hierarchies {
    let mut found = Hierarchies { v1: Vec::new(), unified: None };
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        match right.split(' ').next() {
            Some("cgroup") => found.v1.push(point),
            Some("cgroup2") if found.unified.is_none() => found.unified = Some(point),
            _ => {}
        }
    }
    found
}

/// Where cgroup2 is mounted.
pub(crate) fn unified() -> Result<PathBuf> {
    Hierarchies::mounted()?
        .unified
        .context("no cgroup2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified`")
}

/// Makes `path` in every hierarchy.
pub(crate) fn create(path: &str) -> Result<()> {
    let hierarchies = Hierarchies::mounted()?;
    for mount in hierarchies.all() {
        let mut dir = mount.clone();
        for part in path.trim_start_matches('/').split('/') {
            let parent = dir.clone();
            // Where cgroup2 is all there is, kubelet finds the controllers its parents hand down.
            if hierarchies.v1.is_empty() {
                hand_down(&parent);
            }
            dir.push(part);
            fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
            // A cpuset takes no process before it has processors and memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if parent.join(file).exists() && mount.ends_with("cpuset") {
                    let set = fs::read(parent.join(file)).with_context(|| format!("read {file}"))?;
                    fs::write(dir.join(file), set)
                        .with_context(|| format!("write {}/{file}", dir.display()))?;
                }
            }
        }
    }
    Ok(())
}

/// What a kernel or a parent does not give is not there for kubelet either, which says what it misses.
fn hand_down(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Processes at and below `path` in any hierarchy; empty when there is none.
pub(crate) fn members(path: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    if let Ok(hierarchies) = Hierarchies::mounted() {
        for mount in hierarchies.all() {
            for dir in below(&mount.join(path.trim_start_matches('/'))) {
                let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                // 0 is a process of a pid namespace that is not below ours.
                found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            }
        }
    }
    found
}

/// Kills what is in `path`, and removes it from every hierarchy.
pub(crate) fn end(path: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let members = members(path);
        if members.is_empty() {
            break;
        }
        if begun.elapsed() > PATIENCE {
            bail!("these processes of {path} do not end: {members:?}");
        }
        for pid in members {
            // One that has ended meanwhile is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(20));
    }
    for mount in Hierarchies::mounted()?.all() {
        for dir in below(&mount.join(path.trim_start_matches('/'))) {
            remove(&dir)?;
        }
    }
    Ok(())
}

/// The kernel lets go of a cgroup a moment after its last process.
fn remove(dir: &Path) -> Result<()> {
    let begun = Instant::now();
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if begun.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("remove {}", dir.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// `dir` and the directories in it, the deepest first; none when it does not exist.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.extend(below(&entry.path()));
            }
        }
        found.push(dir.to_path_buf());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
                    34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
                    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let found = parse(text);
        assert_eq!(found.v1, [PathBuf::from("/sys/fs/cgroup/cpuset")]);
        assert_eq!(found.unified.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_machine_with_cgroup2_alone_has_no_other() {
        let found = parse("30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!((found.v1.len(), found.unified.is_some()), (0, true));
    }
}
