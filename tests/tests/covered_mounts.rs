//! A mount that lies under another one is listed in mountinfo, and nobody gets there.

use std::process::Command;

use tests::data_plane::DataPlane;
use tests::requirement::Requirement;
use tests::sidestep::{self, ended_command};

/// As in a container in a container: the outer cgroup2 is below what the inner one has mounted over it.
#[test]
fn the_cgroup2_that_is_reached_is_taken() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("unshare", "util-linux")]) {
        return;
    }
    let mounts = "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/reached && \
                  mount -t cgroup2 none /sys/fs/cgroup/reached && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", mounts, "sh"]);
    command.arg(sidestep::binary().unwrap()).arg("doctor");
    let said = ended_command(command).unwrap();
    let place = "at /sys/fs/cgroup/reached";
    assert!(said.stdout.lines().any(|line| line.contains("cgroup2") && line.contains(place)), "{said:?}");
}
