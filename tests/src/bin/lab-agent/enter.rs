//! Becoming a process of a pod.

use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, execvp, fexecve, seteuid, setgroups, setresgid, setresuid};
use tests::cgroup;

/// Open files a process of the lab may have: one holds 40,000 connections and more.
const OPEN_FILES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Enter {
    #[arg(long)]
    netns: PathBuf,
    #[arg(long)]
    cgroup: PathBuf,
    #[arg(long)]
    uid: u32,
    #[arg(long)]
    gid: u32,
    /// Directory that stands for /etc.
    #[arg(long)]
    etc: Option<PathBuf>,
    #[arg(last = true, required = true)]
    command: Vec<CString>,
}

impl Enter {
    pub(crate) fn run(self) -> Result<()> {
        let program = self.command.first().context("no program")?.clone();
        // Opened while still root: a clone below /root is not reachable for the sidecar's uid.
        let opened = program
            .as_bytes()
            .contains(&b'/')
            .then(|| open(program.as_c_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()));
        let netns = File::open(&self.netns).with_context(|| format!("open {}", self.netns.display()))?;
        raise_open_files();
        cgroup::join(&self.cgroup)?;
        setns(netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.netns.display()))?;
        if let Some(etc) = &self.etc {
            replace_etc(etc).with_context(|| format!("put {} in the place of /etc", etc.display()))?;
        }
        become_user(self.uid, self.gid)?;
        let Err(mut errno) = execvp(&program, &self.command);
        if let (Errno::EACCES, Some(Ok(file))) = (errno, opened) {
            let environment: Vec<CString> = std::env::vars()
                .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
                .collect();
            let Err(second) = fexecve(file, &self.command, &environment);
            errno = second;
        }
        bail!("run {}: {errno}", program.to_string_lossy())
    }
}

/// For this process only: what it mounts is nobody else's.
fn replace_etc(etc: &Path) -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some(etc), "/etc", none, MsFlags::MS_BIND, none)
}

fn raise_open_files() {
    // Less is enough for most tests, so what the kernel allows will do.
    if setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).is_err()
        && let Ok((_, hard)) = nix::sys::resource::getrlimit(Resource::RLIMIT_NOFILE)
    {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

/// Becomes `uid` and `gid` for good, without supplementary groups.
pub(crate) fn become_user(uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // A process that has taken another effective uid for a while; the others have nothing to come back to.
    seteuid(Uid::from_raw(0)).ok();
    setgroups(&[]).context("drop groups")?;
    setresgid(gid, gid, gid).with_context(|| format!("become gid {gid}"))?;
    setresuid(uid, uid, uid).with_context(|| format!("become uid {uid}"))
}

/// Takes real uid, effective uid, real gid and effective gid, without supplementary groups.
pub(crate) fn become_ids(ids: &[u32]) -> Result<()> {
    let &[uid, euid, gid, egid] = ids else { bail!("four ids are needed, not {ids:?}") };
    setgroups(&[]).context("drop groups")?;
    let (gid, egid) = (Gid::from_raw(gid), Gid::from_raw(egid));
    setresgid(gid, egid, gid).with_context(|| format!("become gid {gid} {egid}"))?;
    let (uid, euid) = (Uid::from_raw(uid), Uid::from_raw(euid));
    setresuid(uid, euid, uid).with_context(|| format!("become uid {uid} {euid}"))
}
