//! What is mounted where, as /proc/self/mountinfo tells (Documentation/filesystems/proc.rst).

use std::path::PathBuf;

/// One line of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mount<'a> {
    /// Which directory of the file system it shows.
    pub(super) root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl Mount<'_> {
    pub(super) fn is_cgroup2(&self) -> bool {
        self.kind == "cgroup2"
    }

    /// A hierarchy of cgroup v1 that has this controller.
    pub(super) fn has_controller(&self, name: &str) -> bool {
        self.kind == "cgroup" && self.options.split(',').any(|option| option == name)
    }

    pub(super) fn point(&self) -> PathBuf {
        PathBuf::from(self.point)
    }
}

/// All mounts of a mountinfo text.
pub(super) fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let (mut head, mut tail) = (head.split_whitespace().skip(3), tail.split_whitespace());
        let (root, point) = (head.next()?, head.next()?);
        let (kind, options) = (tail.next()?, tail.last()?);
        Some(Mount { root, point, kind, options })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_beside_version_1() {
        let text = "30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                    31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cgroup2 = |text| mounts(text).find(Mount::is_cgroup2).map(|mount| mount.point());
        assert_eq!(cgroup2(text), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2(""), None);
    }

    #[test]
    fn mounts_are_read() {
        let text = "30 25 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n\
                    31 25 0:27 /../.. /host rw - cgroup2 cgroup2 rw\n";
        let found: Vec<Mount<'_>> = mounts(text).collect();
        assert!(found[0].has_controller("cpu") && !found[0].has_controller("memory"));
        assert!(!found[1].has_controller("rw"));
        let cgroup2: Vec<_> =
            found.iter().filter(|it| it.is_cgroup2()).map(|it| (it.root, it.point())).collect();
        assert_eq!(cgroup2, [("/../..", PathBuf::from("/host"))]);
    }
}
