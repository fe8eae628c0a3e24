//! Workloads by their cgroups, for labs: each directory below one is a workload, and its processes say which network
//! namespace it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use proxy_core::config::PodName;

/// A directory of cgroup2 whose children are workloads.
#[derive(Debug)]
pub(crate) struct CgroupTree {
    root: PathBuf,
    /// Where each one's namespace was found last: it stays the workload's while no process is there.
    found: BTreeMap<PathBuf, PathBuf>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) name: PodName,
    pub(crate) cgroup: PathBuf,
    pub(crate) netns: PathBuf,
}

impl CgroupTree {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, found: BTreeMap::new() }
    }

    /// Those that have a network namespace of their own, and why others are none.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn look(&mut self) -> Result<(Vec<Child>, Vec<anyhow::Error>)> {
        let about = || format!("--watch-cgroup {}", self.root.display());
        let own = inode(Path::new("/proc/self/ns/net")).with_context(about)?;
        let (mut children, mut faults) = (Vec::new(), Vec::new());
        let next = "name a directory below the mount of cgroup2, and make it before";
        for entry in fs::read_dir(&self.root).context(next).with_context(about)? {
            let entry = entry.with_context(about)?;
            if !still_there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                continue;
            }
            match self.child(&entry.path(), own) {
                Ok(child) => children.extend(child),
                Err(why) => faults.push(why.context(about())),
            }
        }
        self.found = children.iter().map(|child| (child.cgroup.clone(), child.netns.clone())).collect();
        Ok((children, faults))
    }

    fn child(&self, cgroup: &Path, own: u64) -> Result<Option<Child>> {
        let last = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name: PodName = format!("{}/{}", last(&self.root), last(cgroup))
            .parse()
            .with_context(|| format!("{}: rename it, its name is to be its pod's", cgroup.display()))?;
        let found = namespace_of(cgroup, own)?;
        let netns = found.or_else(|| self.found.get(cgroup).cloned());
        Ok(netns.map(|netns| Child { name, cgroup: cgroup.to_owned(), netns }))
    }
}

/// The one namespace of the processes below `cgroup` that are not in the agent's.
fn namespace_of(cgroup: &Path, own: u64) -> Result<Option<PathBuf>> {
    let mut found: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut directories = vec![cgroup.to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        let Some(processes) = still_there(fs::read_to_string(directory.join("cgroup.procs")))? else {
            continue;
        };
        for pid in processes.lines().filter(|pid| *pid != "0" && seen.insert((*pid).to_owned())) {
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            // It may have ended meanwhile.
            if let Ok(number) = inode(&path)
                && number != own
            {
                found.entry(number).or_insert(path);
            }
        }
        let Some(entries) = still_there(fs::read_dir(&directory))? else { continue };
        for entry in entries {
            let Some(entry) = still_there(entry)? else { continue };
            if still_there(entry.file_type())?.is_some_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
    }
    ensure!(
        found.len() <= 1,
        "{}: its processes are in {} network namespaces; give each its own cgroup",
        cgroup.display(),
        found.len()
    );
    Ok(found.into_values().next())
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|found| found.ino())
}

/// None: it has gone while we looked, or has none of its own.
fn still_there<T>(result: io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        // ENODEV of a cgroup that is gone; EOPNOTSUPP of threads, whose processes stand in a cgroup above.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Directories stand for cgroups: who looks reads files.
    #[test]
    fn a_child_is_where_its_processes_are() {
        let made = tempfile::tempdir().unwrap();
        let root = made.path().join("lab");
        let cgroup = |name: &str, processes: &str| {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("cgroup.procs"), processes).unwrap();
        };
        let mut tree = CgroupTree::new(root.clone());
        assert!(tree.look().is_err());
        // In the agent's own namespace, gone, of another pid namespace, and none.
        cgroup("here", &format!("{}\n4194305\n0\n", std::process::id()));
        cgroup("empty", "");
        cgroup("no_name", "");
        fs::write(root.join("cgroup.procs"), "").unwrap();
        let (children, faults) = tree.look().unwrap();
        assert!(children.is_empty(), "{children:?}");
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        let said = format!("{fault:#}");
        assert!(said.contains("--watch-cgroup") && said.contains("no_name: rename it"), "{said}");
    }
}
