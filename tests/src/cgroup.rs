//! cgroup2 directories: where they are mounted, making one, ending everything in one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const END_WITHIN: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// The first cgroup2 mount of this mount namespace.
pub fn mount() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    mount_in(&text, "cgroup2").context("no cgroup2 mount: `mount -t cgroup2 none /sys/fs/cgroup/unified`")
}

/// The first hierarchy of version 1.
pub fn mount_v1() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    mount_in(&text, "cgroup").context("no cgroup v1 hierarchy is mounted")
}

/// Where memory cgroups are made, of whichever version, and the file that says how much one has in use.
pub fn memory() -> Result<(PathBuf, &'static str)> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    let of_version1 = text.lines().filter(|line| {
        line.split_once(" - cgroup ")
            .is_some_and(|(_, options)| options.split([' ', ',']).any(|it| it == "memory"))
    });
    let of_version1: String = of_version1.take(1).collect();
    if let Some(mount) = mount_in(&of_version1, "cgroup") {
        return Ok((mount, "memory.usage_in_bytes"));
    }
    let mount = mount()?;
    let names = fs::read_to_string(mount.join("cgroup.controllers")).context("read the controllers")?;
    ensure!(names.split_whitespace().any(|name| name == "memory"), "no memory cgroups of either version");
    fs::write(mount.join("cgroup.subtree_control"), "+memory")
        .context("have memory cgroups below the root")?;
    Ok((mount, "memory.current"))
}

fn mount_in(mountinfo: &str, kind: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        (after.split(' ').next()? == kind).then(|| unescape(before.split(' ').nth(4)?))?
    })
}

/// mountinfo writes blanks and backslashes as three octal digits (fs/proc_namespace.c: mangle).
fn unescape(field: &str) -> Option<PathBuf> {
    let mut parts = field.split('\\');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..3)?, 8).ok()?;
        out.push(char::from(code));
        out.push_str(&part[3..]);
    }
    Some(PathBuf::from(out))
}

/// Moves the calling process into `cgroup`.
pub fn join(cgroup: &Path) -> Result<()> {
    let procs = cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("join {}", procs.display()))
}

/// The kernel's id of a cgroup: the inode number of its directory.
pub fn id(cgroup: &Path) -> Result<u64> {
    Ok(fs::metadata(cgroup).with_context(|| format!("stat {}", cgroup.display()))?.ino())
}

/// Processes in `cgroup`.
pub fn processes(cgroup: &Path) -> Result<Vec<Pid>> {
    let procs = cgroup.join("cgroup.procs");
    let text = fs::read_to_string(&procs).with_context(|| format!("read {}", procs.display()))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect())
}

/// Ends every process in `cgroup` (a directory the lab made, so all of them are the lab's) and removes it.
pub fn end(cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        for pid in processes(cgroup)? {
            // It may have gone since the list was read.
            let _ = kill(pid, Signal::SIGKILL);
        }
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                bail!("remove {}: {error}; still in it: {:?}", cgroup.display(), processes(cgroup)?)
            }
            Err(_) => std::thread::sleep(RETRY_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cgroup2_mount_among_v1_ones() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    41 31 0:38 / /mnt/my\\040cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_in(text, "cgroup2"), Some(PathBuf::from("/mnt/my cgroup")));
        assert_eq!(mount_in(text, "cgroup"), Some(PathBuf::from("/sys/fs/cgroup/memory")));
    }

    #[test]
    fn says_none_without_cgroup2() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n";
        assert_eq!((mount_in(text, "cgroup2"), mount_in(text, "cgroup")), (None, None));
    }
}
