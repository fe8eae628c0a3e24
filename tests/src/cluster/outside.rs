//! A server out of the mesh and out of the cluster.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::Cluster;
use crate::cgroup;

/// Starts it. It is a member of the cluster's cgroup, so it ends with the cluster at the latest.
pub fn serve(cluster: &Cluster) -> Result<()> {
    let group = cgroup::mount()?.join(cluster.cgroup.trim_start_matches('/')).join("outside");
    let mut command = Command::new("nsenter");
    command.args(["-t", &cluster.outside.pid.to_string(), "-n", "--"]).arg(cluster.bin.join("app"));
    command.args(["observe", "http::8000", "http::8083", "tcp::9000"]);
    command.env("NAME", "outside").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the child writes a file between fork and exec, nothing else.
    unsafe {
        command.pre_exec(move || cgroup::join(&group).map_err(std::io::Error::other));
    }
    command.spawn().context("run app outside the cluster")?;
    Ok(())
}
