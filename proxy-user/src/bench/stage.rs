//! A namespace and a cgroup with relay, server and client: the process that holds them, and its handle.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    net::Ipv4Addr,
    os::{fd::AsRawFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sched::{CloneFlags, unshare};
use proxy_plane::{
    cgroup::{self, TemporaryCgroup},
    dataplane, netns,
};

use super::{
    interrupt::Interrupt,
    load::Exchanged,
    plane::{self, Mode},
};
use crate::out;

/// The stage's own address, on lo (TEST-NET-1).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: &str = "192.0.2.1:9000";
const PROXY: u32 = 1337;
const APP: u32 = 1000;
/// Messages of an exchange: two connections, both ways.
const MESSAGES: u64 = 4;

#[derive(Args, Clone, Debug)]
pub(super) struct StageArgs {
    #[arg(long)]
    cgroup: PathBuf,
    #[arg(long)]
    sidecar: bool,
    #[arg(long)]
    iptables: bool,
}

/// The stage's own process: every line of standard input (`connections size seconds`) is a run.
pub(super) fn serve(args: &StageArgs) -> Result<()> {
    fs::write(args.cgroup.join("cgroup.procs"), "0").context("join the cgroup")?;
    unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
    netns::lo_up()?;
    netns::add_to_lo(ADDRESS)?;
    if args.iptables {
        plane::load_rules()?;
    }
    let mut children = Vec::new();
    if args.sidecar {
        let listen = ["relay", "--outbound", "0.0.0.0:15001", "--inbound", "0.0.0.0:15006", "--mode", "eth0"];
        children.push(Ended(until_ready(PROXY, &listen)?));
    }
    let echo = ["bench", "echo", "--listen", SERVER, "--behind-sidecar"];
    children.push(Ended(until_ready(APP, &echo[..if args.sidecar { 5 } else { 4 }])?));
    out::line("ready")?;
    for line in std::io::stdin().lines() {
        let line = line?;
        let [connections, size, seconds] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let load = ["bench", "load", "--to", SERVER, "--connections", connections, "--size", size];
        let output =
            command(PROXY, &load)?.args(["--seconds", seconds]).output().context("run the client")?;
        ensure!(output.status.success(), "client: {}", out::said_by(&output.stderr));
        out::text(String::from_utf8_lossy(&output.stdout))?;
    }
    Ok(())
}

/// This program, as a user who may not be able to reach its path.
fn command(user: u32, args: &[&str]) -> Result<Command> {
    let mut command = Command::new("/proc/self/exe");
    // std drops the supplementary groups with the uid.
    command.args(args).uid(user).gid(user);
    Ok(command)
}

fn until_ready(user: u32, args: &[&str]) -> Result<Child> {
    let mut child = command(user, args)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no stdout")?;
    let ready = BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "ready");
    ensure!(ready, "{args:?} did not start");
    Ok(child)
}

/// A child that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A running stage; everything of it goes when dropped.
pub(super) struct Stage {
    mode: Mode,
    cgroup: TemporaryCgroup,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    netns: Option<File>,
    attached: bool,
}

impl Stage {
    /// What an interrupt ends.
    pub(super) fn start(mode: Mode, interrupt: &Interrupt) -> Result<Self> {
        let cgroup =
            TemporaryCgroup::make(&cgroup::mount_point()?, "sidestep-bench-", &format!("-{}", mode.name()))?;
        let mut command = Command::new(plane::own()?);
        command.args(["bench", "stage", "--cgroup"]).arg(cgroup.path());
        if mode.has_sidecar() {
            command.arg("--sidecar");
        }
        if mode == Mode::Iptables {
            command.arg("--iptables");
        }
        // A group of its own: Ctrl-C is for the bench, which takes everything away in order.
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).spawn();
        let mut child = spawned.context("start the stage")?;
        interrupt.ends(child.id());
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut stage = Self { mode, cgroup, child, input, output, netns: None, attached: false };
        let line = stage.line()?;
        ensure!(line == "ready", "the stage said {line:?}");
        stage.netns =
            Some(File::open(format!("/proc/{}/ns/net", stage.child.id())).context("its namespace")?);
        stage.attached = true;
        plane::attach(mode, &stage.netns(), stage.cgroup.path())?;
        Ok(stage)
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// A path that lasts: the stage may have been ended.
    fn netns(&self) -> PathBuf {
        let fd = self.netns.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        PathBuf::from(format!("/proc/{}/fd/{fd}", std::process::id()))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).context("read from the stage")?;
        Ok(line.trim().to_owned())
    }

    /// One run; fails if messages were redirected where they should not, or not where they should.
    pub(super) fn run(&mut self, connections: u32, size: u32, seconds: u32) -> Result<(Exchanged, u64)> {
        let before = redirected(self.cgroup.path())?;
        let input = self.input.as_mut().context("the stage has ended")?;
        writeln!(input, "{connections} {size} {seconds}").context("write to the stage")?;
        let line = self.line()?;
        let exchanged: Exchanged = serde_json::from_str(&line).with_context(|| format!("read {line:?}"))?;
        let redirected = redirected(self.cgroup.path())? - before;
        if self.mode == Mode::Sidestep {
            let wanted = exchanged.exchanges * MESSAGES;
            ensure!(
                redirected * 2 > wanted,
                "{redirected} of {wanted} messages were redirected: see `sidestep status`"
            );
        } else {
            ensure!(redirected == 0, "{redirected} messages were redirected");
        }
        Ok((exchanged, redirected))
    }
}

/// Messages of the workload in `cgroup` that went through the sockmap so far.
fn redirected(cgroup: &Path) -> Result<u64> {
    let (workloads, _) = dataplane::status()?;
    let own = workloads.iter().find(|workload| workload.meta.cgroup_path == cgroup);
    Ok(own.and_then(|own| own.acceleration.get("redirected")).map_or(0, |traffic| traffic.messages))
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.attached
            && let Err(error) = plane::detach(self.mode, &self.netns(), self.cgroup.path())
        {
            out::complain(format!("{error:#}"));
        }
        self.input = None;
        self.child.wait().ok();
        // Of a stage that was ended nobody has ended what it started (Linux 5.14; before, the interrupt has).
        let _ = fs::write(self.cgroup.path().join("cgroup.kill"), "1");
    }
}
