//! Processes of the pod, from /proc.

use std::fs;

use serde::Serialize;

/// A process; `uid` and `gid` are those of the sockets it makes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Process {
    pub pid: i32,
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    #[serde(skip)]
    pub(super) parent: i32,
}

impl Process {
    /// None: it ended meanwhile.
    pub(super) fn read(pid: i32) -> Option<Self> {
        Self::parse(pid, &fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// `Uid:` and `Gid:` hold the real, effective, saved and file system ids (proc_pid_status(5)).
    fn parse(pid: i32, status: &str) -> Option<Self> {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let id = |name: &str| field(name)?.split_whitespace().nth(3)?.parse().ok();
        Some(Self {
            pid,
            name: field("Name:")?.trim().to_owned(),
            uid: id("Uid:")?,
            gid: id("Gid:")?,
            parent: field("PPid:")?.trim().parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_ids_count() {
        let status = "Name:\tmy app\nUmask:\t0022\nPPid:\t7\nUid:\t0\t1\t2\t1000\nGid:\t4\t5\t6\t1001\n";
        let want = Process { pid: 9, name: "my app".into(), uid: 1000, gid: 1001, parent: 7 };
        assert_eq!(Process::parse(9, status), Some(want));
        assert_eq!(Process::parse(9, "Name:\tgone\n"), None);
    }
}
