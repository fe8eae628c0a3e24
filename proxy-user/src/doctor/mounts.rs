//! Where cgroup2 really is, and the bpffs that holds the pins.

use std::{fs, path::Path};

use proxy_plane::{cgroup, dataplane};

use super::finding::Finding;

const CGROUP: &str = "cgroup2";
const BPFFS: &str = "bpffs";
const BPFFS_MAGIC: i64 = 0xcafe_4a11;

pub(super) fn findings() -> Vec<Finding> {
    vec![cgroup2(), bpffs()]
}

fn cgroup2() -> Finding {
    match cgroup::mount_point() {
        Ok(place) => {
            let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let v1 = own.lines().any(|line| !line.starts_with("0::") && !line.contains(":name="));
            let beside = if v1 { ", beside cgroup v1: give --cgroup paths below it" } else { "" };
            Finding::ok(CGROUP, format!("at {}{beside}", place.display()))
        }
        Err(error) => Finding::unusable(CGROUP, "not mounted", format!("{error:#}")),
    }
}

fn bpffs() -> Finding {
    let pins = dataplane::pin_root();
    let base = pins.parent().unwrap_or(Path::new("/sys/fs/bpf"));
    let shown = base.display();
    match nix::sys::statfs::statfs(base) {
        Ok(stat) if stat.filesystem_type().0 == BPFFS_MAGIC => match fs::read_dir(base) {
            Ok(_) => Finding::ok(BPFFS, format!("at {shown}")),
            Err(error) => Finding::unseen(BPFFS, format!("at {shown}: {error}"), "run doctor as root"),
        },
        Ok(_) => Finding::degraded(
            BPFFS,
            format!("not mounted at {shown}; attach will try"),
            format!("mount -t bpf bpf {shown}; in a container, mount the host's"),
        ),
        Err(nix::errno::Errno::EACCES) => {
            Finding::unseen(BPFFS, format!("{shown}: permission denied"), "run doctor as root")
        }
        Err(error) => Finding::degraded(
            BPFFS,
            format!("{shown}: {error}; attach will try to mount one"),
            format!("mkdir -p {shown} && mount -t bpf bpf {shown}"),
        ),
    }
}
