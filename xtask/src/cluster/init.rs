//! The first process of a node: it makes the mounts, starts what it is told to, and when it ends everything in its pid
//! namespace does. It listens on stdin, so that a killed `up` leaves nothing: without a last word it ends with `up`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::wait::{WaitStatus, waitpid},
};
use serde::{Deserialize, Serialize};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where its logs go
    #[arg(long)]
    dir: PathBuf,
    /// cgroup.procs of the cgroup it moves to
    #[arg(long)]
    procs: PathBuf,
    /// Make the mounts of a node; else only the namespaces are wanted
    #[arg(long)]
    node: bool,
}

/// A node's own directories, at a path that is the same in all of them: what a DaemonSet mounts has one name.
pub(crate) const CNI_CONF_DIR: &str = "/run/cni/net.d";
pub(crate) const CNI_BIN_DIR: &str = "/run/cni/bin";

const BPFFS: &str = "/sys/fs/bpf";

/// A line on stdin.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Start a program whose output goes to `log/<name>`.
    Start { name: String, command: Vec<String>, environment: BTreeMap<String, String> },
    /// The cluster is finished: live on, so many seconds.
    Keep(u64),
}

/// What it says on stdout when it takes orders.
pub(crate) const READY: &str = "ready";

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(std::process::id() == 1, "init is for xtask itself: it is the first process of a pid namespace");
    fs::write(&args.procs, "0").with_context(|| format!("write {}", args.procs.display()))?;
    if args.node {
        mounts(&args.dir)?;
    }
    let log = args.dir.join("log");
    let exits = args.dir.join("exits");
    for dir in [&log, &exits] {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    let names = Arc::new(Mutex::new(BTreeMap::new()));
    let known = Arc::clone(&names);
    thread::spawn(move || reap(&known, &exits));
    println!("{READY}");
    io::stdout().flush().context("write to stdout")?;
    for line in io::stdin().lock().lines() {
        match serde_json::from_str(&line.context("read an order")?).context("read an order")? {
            Order::Start { name, command, environment } => {
                // Held over the start, so that the reaper knows the name of what ends at once.
                let mut names = names.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let pid = start(&log.join(&name), &command, &environment)?;
                names.insert(pid, name);
            }
            Order::Keep(seconds) => {
                thread::sleep(Duration::from_secs(seconds));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn start(log: &Path, command: &[String], environment: &BTreeMap<String, String>) -> Result<i32> {
    let (program, arguments) = command.split_first().context("an order without a program")?;
    let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let error = out.try_clone().context("share the log")?;
    let child = Command::new(program)
        .args(arguments)
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(error)
        .spawn()
        .with_context(|| format!("run {program}"))?;
    i32::try_from(child.id()).context("pid")
}

/// Orphans of the whole pid namespace come to its first process. A component that ends leaves word in `exits`.
fn reap(names: &Mutex<BTreeMap<i32, String>>, exits: &Path) {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => {
                note(names, exits, pid.as_raw(), ExitStatus::from_raw(code << 8))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                note(names, exits, pid.as_raw(), ExitStatus::from_raw(signal as i32));
            }
            Err(Errno::ECHILD) => thread::sleep(Duration::from_millis(50)),
            _ => {}
        }
    }
}

fn note(names: &Mutex<BTreeMap<i32, String>>, exits: &Path, pid: i32, status: ExitStatus) {
    let name = names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&pid);
    if let Some(name) = name {
        // Nobody is there to be told of an error.
        let _ = fs::write(exits.join(name), status.to_string());
    }
}

/// What a node must not share with the machine, or with other nodes.
fn mounts(dir: &Path) -> Result<()> {
    // Where systemd-resolved is, this is a file below /run.
    let resolv = fs::canonicalize("/etc/resolv.conf").context("find /etc/resolv.conf")?;
    for path in ["/run", "/var/log"] {
        uncover(path)?;
        tmpfs(Path::new(path))?;
    }
    let made = ["/run/netns", "/run/lock", "/run/containerd", "/var/log/pods", "/var/log/containers"];
    for path in made.into_iter().chain([CNI_CONF_DIR, CNI_BIN_DIR]) {
        fs::create_dir_all(path).with_context(|| format!("create {path}"))?;
    }
    private_var_lib()?;
    let none = None::<&str>;
    let kubelet = dir.join("kubelet");
    bind(&kubelet, &kubelet)?;
    uncover(BPFFS)?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).context("mount a bpffs")?;
    bind(&dir.join("cni"), Path::new(CNI_CONF_DIR))?;
    bind(&dir.join("cni-bin"), Path::new(CNI_BIN_DIR))?;
    if !resolv.exists() {
        let parent = resolv.parent().context("a file without a directory")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        File::create(&resolv).with_context(|| format!("create {}", resolv.display()))?;
    }
    bind(&dir.join("resolv.conf"), &resolv)?;
    // As on a node that systemd has started: kubelet's volumes and pods' namespaces are mounts, and containers that are
    // there already see new ones.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).context("share the node's mounts")
}

/// The cache of CNI results is /var/lib/cni for everyone, and need not exist: what is written goes to memory.
fn private_var_lib() -> Result<()> {
    for dir in ["/run/var-lib/upper", "/run/var-lib/work"] {
        fs::create_dir_all(dir).with_context(|| format!("create {dir}"))?;
    }
    let options = "lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work";
    mount(Some("overlay"), "/var/lib", Some("overlay"), MsFlags::empty(), Some(options))
        .context("mount an overlay on /var/lib")
}

/// What is mounted there or below would be covered, but still listed: container runtimes take it for what is there.
fn uncover(path: &str) -> Result<()> {
    let below = format!("{path}/");
    let is_of_it = |mount: &&str| *mount == path || mount.starts_with(&below);
    let listed = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let mounts = listed.lines().filter_map(|line| line.split(' ').nth(4));
    // The last first: a mount may hold others.
    for mount in mounts.filter(is_of_it).collect::<Vec<_>>().into_iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).with_context(|| format!("unmount {mount}"))?;
    }
    Ok(())
}

fn tmpfs(path: &Path) -> Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))
        .with_context(|| format!("mount a tmpfs on {}", path.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("mount {} on {}", from.display(), to.display()))
}
