//! Whom the kernel charges for maps. Their memory, and that of every entry a pod's connections make in them later, is
//! charged to the memory cgroup of the process that creates them (`kernel/bpf/syscall.c: bpf_map_save_memcg`). They are
//! the node's: a limit set for an agent, or for the shell of who runs attach, is not meant for them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    installer::{find_own, lists},
    mounts::{Mount, mounts},
};

/// This process in the root of the memory cgroups, which has no limit; dropped, it is where it was.
pub(crate) struct OutsideLimits {
    back: Option<PathBuf>,
}

impl OutsideLimits {
    /// Where cgroups cannot be seen or changed the process stays where it is.
    pub(crate) fn enter() -> Self {
        let Some((root, own)) = memory_cgroup() else { return Self { back: None } };
        match join(&root) {
            Ok(()) => Self { back: Some(own) },
            Err(error) => {
                let own = own.display();
                tracing::debug!(%error, "the maps are charged to {own}, where this process is");
                Self { back: None }
            }
        }
    }
}

impl Drop for OutsideLimits {
    fn drop(&mut self) {
        if let Some(own) = &self.back
            && let Err(error) = join(own)
        {
            tracing::error!("this process could not go back to its cgroup {}: {error}", own.display());
        }
    }
}

fn join(cgroup: &Path) -> std::io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
}

/// The root of the hierarchy that has the memory controller, and this process's own cgroup in it. None: it is the root,
/// or hidden.
fn memory_cgroup() -> Option<(PathBuf, PathBuf)> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (root, path) = find(&cgroups, &mountinfo)?;
    let named = root.join(path.trim_start_matches('/'));
    let pid = std::process::id();
    // A cgroup namespace shows other names.
    let own = if lists(&named, pid) { named } else { find_own(&root, pid)? };
    (own != root).then_some((root, own))
}

/// The mount point, and the name of this process's cgroup.
fn find(cgroups: &str, mountinfo: &str) -> Option<(PathBuf, String)> {
    let version1 = cgroups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|controller| controller == "memory").then_some(path)
    });
    // A mount of a part of the hierarchy does not show its root.
    let mut whole = mounts(mountinfo).filter(|mount| mount.root == "/" || mount.root.starts_with("/.."));
    let (mount, path) = match version1 {
        Some(path) => (whole.find(|mount| mount.has_controller("memory"))?, path),
        None => (whole.find(Mount::is_cgroup2)?, cgroups.lines().find_map(|line| line.strip_prefix("0::"))?),
    };
    Some((mount.point(), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_controller_is_found_in_both_versions() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 25 0:28 /pod /below rw - cgroup2 cgroup2 rw\n\
                      33 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let version1 = find("4:cpu,memory:/a/b\n0::/c\n", mounts);
        assert_eq!(version1, Some(("/sys/fs/cgroup/memory".into(), "/a/b".into())));
        assert_eq!(find("0::/c\n", mounts), Some(("/sys/fs/cgroup/unified".into(), "/c".into())));
        assert_eq!(find("0::/c\n", ""), None);
    }

    #[test]
    fn the_process_is_back_afterwards() {
        let before = fs::read_to_string("/proc/self/cgroup").unwrap();
        drop(OutsideLimits::enter());
        assert_eq!(fs::read_to_string("/proc/self/cgroup").unwrap(), before);
    }
}
