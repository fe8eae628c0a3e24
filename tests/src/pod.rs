//! A pod: processes in a network namespace and a cgroup of their own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::keeper::Keeper;
use crate::process::Command;
use crate::server::APP_USER;
use crate::{agent, cgroup};

static COUNTER: AtomicU32 = AtomicU32::new(0);

#[derive(Debug)]
struct Inner {
    name: String,
    keeper: Keeper,
    cgroup: PathBuf,
    scratch: tempfile::TempDir,
    /// See [`Pod::mark_alike`].
    alike: AtomicBool,
}

/// A pod. Clones share it; it ends with the last of them, and every [`crate::process::Process`] holds one.
#[derive(Clone, Debug)]
pub struct Pod(Arc<Inner>);

impl Pod {
    /// Makes a namespace (lo up, no other interface) and a cgroup below the cgroup2 root, and a keeper in both.
    /// `name` appears in the cgroup's name, made unique by pid and counter.
    pub fn new(name: &str) -> Result<Self> {
        Self::below(&cgroup::mount()?, name)
    }

    /// The same with its cgroup below another than the root, which has to outlive it.
    pub fn below(parent: &Path, name: &str) -> Result<Self> {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let unique = format!("sidestep-lab-{}-{count}-{name}", std::process::id());
        let cgroup = parent.join(&unique);
        let scratch =
            tempfile::Builder::new().prefix(&unique).tempdir().context("make the pod's scratch directory")?;
        // Processes of any uid write their logs here.
        let anyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(scratch.path(), anyone).context("open the pod's scratch directory")?;
        let keeper = Keeper::start(&cgroup, scratch.path()).with_context(|| format!("pod {name}"))?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            keeper,
            cgroup,
            scratch,
            alike: AtomicBool::new(false),
        })))
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Pods of other tests have its addresses: attached, it would be taken for each of them, which their tests do not attach.
    pub(crate) fn mark_alike(&self) {
        self.0.alike.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_alike(&self) -> bool {
        self.0.alike.load(Ordering::Relaxed)
    }

    /// Pid of the keeper.
    pub fn pid(&self) -> u32 {
        self.0.keeper.pid()
    }

    /// `/proc/<keeper>/ns/net`, for `--netns`.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid()))
    }

    /// Inode number of the network namespace, as in `lsns` and `bpftool link`.
    pub fn netns_inode(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.netns()).context("stat the pod's netns")?.ino())
    }

    /// The cgroup's directory, for `--cgroup`.
    pub fn cgroup(&self) -> &Path {
        &self.0.cgroup
    }

    /// The kernel's id of the cgroup.
    pub fn cgroup_id(&self) -> Result<u64> {
        cgroup::id(&self.0.cgroup)
    }

    /// Its workload, as `sidestep status` names it.
    pub fn workload(&self) -> Result<String> {
        Ok(format!("{}-{}", self.netns_inode()?, self.cgroup_id()?))
    }

    /// A directory for configuration and logs, writable for every uid, gone with the pod.
    pub fn scratch(&self) -> &Path {
        self.0.scratch.path()
    }

    /// A command to run in this pod: its namespace, its cgroup, uid 0 unless said otherwise.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        Command::new(self, program.as_ref())
    }

    /// `lab-agent <verb>` in this pod.
    pub(crate) fn agent(&self, verb: &str) -> Result<Command> {
        Ok(self.command(agent::path()?).arg(verb))
    }

    /// `lab-agent <verb>` in this pod, for what has no wrapper of its own.
    pub fn lab_agent(&self, verb: &str) -> Result<Command> {
        self.agent(verb)
    }

    /// The same as [`crate::server::APP_USER`].
    pub fn agent_as_app(&self, verb: &str) -> Result<Command> {
        Ok(self.agent(verb)?.user(APP_USER.0, APP_USER.1))
    }

    /// Runs lines of `ip -batch` in the namespace.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.command("ip").args(["-batch", "-"]).input(lines).run().map(drop)
    }

    /// Sets a sysctl of the namespace: `sysctl("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the reader's namespace, so the writer has to be in it.
        self.agent("sysctl")?.args([path, value]).run().map(drop)
    }

    /// Commands the keeper runs at the end if their guards cannot: see [`Keeper::undo_at_end`].
    pub(crate) fn undo_at_end(&self, commands: &[Vec<String>]) -> Result<()> {
        self.0.keeper.undo_at_end(commands)
    }

    /// The line to type to look around in the pod.
    pub fn nsenter_line(&self) -> String {
        format!("nsenter --net={} bash   # cgroup {}", self.netns().display(), self.cgroup().display())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let netns = format!("/proc/{}/ns/net", self.keeper.pid());
        eprintln!("lab: pod {}: nsenter --net={netns} bash   # cgroup {}", self.name, self.cgroup.display());
        let keep = std::env::var("SIDESTEP_LAB_KEEP").ok().and_then(|text| text.parse().ok());
        match keep {
            Some(seconds) => {
                eprintln!("lab: kept for {seconds} s");
                std::thread::sleep(Duration::from_secs(seconds));
            }
            None => eprintln!("lab: (gone by now; SIDESTEP_LAB_KEEP=<seconds> keeps it)"),
        }
    }
}
