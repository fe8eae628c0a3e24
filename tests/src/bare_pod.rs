//! A namespace with an address on lo, and a cgroup, both without processes: what an agent meets when a pod's sandbox has
//! just been made.

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

use crate::node_agent::SetUp;
use crate::sidestep;

/// Gone when dropped.
#[derive(Debug)]
pub struct BarePod {
    /// Keeps the namespace.
    _namespace: File,
    netns: Netns,
    cgroup: Option<Cgroup>,
    dir: PathBuf,
}

impl BarePod {
    /// Makes one; each number has an address of its own.
    pub fn make(number: u32) -> Result<Self> {
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
        let dir = cgroup::mount_point()?.join(format!("sidestep-bare-{}-{number}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("make {}", dir.display()))?;
        let cgroup = Cgroup::open(&dir)?;
        Ok(Self { _namespace: namespace, netns: Netns::open(Path::new(&path))?, cgroup: Some(cgroup), dir })
    }

    /// Enrols it in this process; a warning is an error.
    pub fn enroll(&self, node: &Node, options: &AttachOptions) -> Result<()> {
        let enrolled = node.enroll(&self.netns, self.cgroup()?, options)?;
        anyhow::ensure!(enrolled.warnings.is_empty(), "{:?}", enrolled.warnings);
        Ok(())
    }

    /// Takes it out again.
    pub fn release(&self, node: &Node) -> Result<()> {
        let was = node.release(&WorkloadPins::new(&self.netns, self.cgroup()?))?;
        anyhow::ensure!(was, "{} was not enrolled", self.dir.display());
        Ok(())
    }

    /// `sidestep <verb> --netns ... --cgroup ... <more>`
    pub fn command(&self, verb: &str, more: &[&str]) -> Result<Command> {
        let mut command = Command::new(sidestep::binary()?);
        command.arg(verb).arg("--netns").arg(self.netns.path()).arg("--cgroup").arg(&self.dir).args(more);
        Ok(command)
    }

    /// For a runtime that sets it up.
    pub fn set_up(&self, number: u32) -> SetUp {
        SetUp {
            name: format!("bare-{number}"),
            netns: self.netns.path().to_owned(),
            cgroup: self.dir.clone(),
        }
    }

    fn cgroup(&self) -> Result<&Cgroup> {
        self.cgroup.as_ref().context("its cgroup is gone")
    }
}

impl Drop for BarePod {
    fn drop(&mut self) {
        self.cgroup.take();
        if let Err(error) = fs::remove_dir(&self.dir) {
            eprintln!("lab: {} stays: {error}", self.dir.display());
        }
    }
}
