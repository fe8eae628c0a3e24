//! A namespace and a cgroup without processes.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, unshare};
use proxy_plane::cgroup::{self, Cgroup};
use proxy_plane::dataplane::{AttachOptions, Node, WorkloadPins};
use proxy_plane::netns::{Netns, add_to_lo, lo_up};

use super::run_command;

/// Gone when dropped.
pub(super) struct Workload {
    /// Keeps the namespace.
    _namespace: File,
    netns: Netns,
    cgroup: Option<Cgroup>,
    dir: PathBuf,
}

impl Workload {
    pub(super) fn make(number: u32) -> Result<Self> {
        let [_, _, c, d] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 98, c, d);
        let made = std::thread::spawn(move || -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
            lo_up()?;
            add_to_lo(address)?;
            File::open("/proc/thread-self/ns/net").context("open the namespace")
        });
        let namespace = made.join().map_err(|_| anyhow!("the thread panicked"))??;
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
        let dir = cgroup::mount_point()?.join(format!("sidestep-enroll-{}-{number}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        let cgroup = Cgroup::open(&dir)?;
        Ok(Self { _namespace: namespace, netns: Netns::open(Path::new(&path))?, cgroup: Some(cgroup), dir })
    }

    pub(super) fn enroll(&self, node: &Node, options: &AttachOptions) -> Result<()> {
        let enrolled = node.enroll(&self.netns, self.cgroup()?, options)?;
        anyhow::ensure!(enrolled.warnings.is_empty(), "{:?}", enrolled.warnings);
        Ok(())
    }

    pub(super) fn release(&self, node: &Node) -> Result<()> {
        let was = node.release(&WorkloadPins::new(&self.netns, self.cgroup()?))?;
        anyhow::ensure!(was, "{} was not enrolled", self.dir.display());
        Ok(())
    }

    /// `sidestep <verb> --netns ... --cgroup ... <more>`; the most memory it had, in bytes,
    /// if anybody looks.
    pub(super) fn command(&self, verb: &str, more: &[&str], look: bool) -> Result<u64> {
        let binary = ::tests::sidestep::binary()?;
        let mut command = Command::new(binary);
        command.arg(verb).arg("--netns").arg(self.netns.path()).arg("--cgroup").arg(&self.dir).args(more);
        run_command(command, look)
    }

    fn cgroup(&self) -> Result<&Cgroup> {
        self.cgroup.as_ref().context("its cgroup is gone")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.cgroup.take();
        if let Err(error) = fs::remove_dir(&self.dir) {
            eprintln!("bench: {} stays: {error}", self.dir.display());
        }
    }
}
