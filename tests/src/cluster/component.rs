//! A program of a node, as xtask started it, that is stopped and started again.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Node;
use crate::cgroup;

const ENDS_WITHIN: Duration = Duration::from_secs(30);
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One that is not running. It runs again at the latest when the value goes: a test that fails leaves a whole node.
#[derive(Debug)]
pub struct Stopped {
    node: Node,
    name: &'static str,
    group: PathBuf,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// Another program is in its place.
    instead: bool,
    runs: bool,
}

/// Which process it is, by its first words.
fn words_of(name: &str) -> &[&str] {
    match name {
        "sidestep" => &["sidestep", "run"],
        "containerd" => &["containerd", "-c"],
        "kubelet" => &["cluster", "kubelet"],
        "apiserver" => &["cluster", "kube-apiserver"],
        _ => &[],
    }
}

/// Ends `name` (that of its log) on a node.
pub fn stop(node: &Node, name: &'static str, signal: Signal) -> Result<Stopped> {
    let group = cgroup::mount()?.join(node.cgroup.trim_start_matches('/')).join("system");
    let pid = running(node, name, &group)?;
    let environment = fs::read(format!("/proc/{pid}/environ"))
        .context("read its environment")?
        .split(|byte| *byte == 0)
        .filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            Some((OsStr::from_bytes(&pair[..at]).to_owned(), OsStr::from_bytes(&pair[at + 1..]).to_owned()))
        })
        .collect();
    let words = command_line(pid).iter().map(|word| OsStr::from_bytes(word).to_owned()).collect();
    end(pid, name, signal)?;
    Ok(Stopped { node: node.clone(), name, group, words, environment, instead: false, runs: false })
}

/// Ends the agent of a node, in whatever container it is, by SIGKILL.
pub fn kill_agent(node: &Node) -> Result<()> {
    let group = cgroup::mount()?.join(node.cgroup.trim_start_matches('/'));
    let mut pids = Vec::new();
    all_below(&group, &mut pids);
    pids.retain(|pid| is(*pid, words_of("sidestep")));
    ensure!(pids.len() == 1, "{} agents run on {}", pids.len(), node.name);
    end(pids[0], "sidestep", Signal::SIGKILL)
}

/// Pods end meanwhile, and their cgroups go.
fn all_below(group: &Path, pids: &mut Vec<Pid>) {
    pids.extend(cgroup::processes(group).unwrap_or_default());
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all_below(&entry.path(), pids);
        }
    }
}

/// The one process of a component.
fn running(node: &Node, name: &str, group: &Path) -> Result<Pid> {
    let mut found = cgroup::processes(group)?.into_iter().filter(|pid| is(*pid, words_of(name)));
    let pid = found.next().with_context(|| format!("no {name} runs on {}", node.name))?;
    ensure!(found.next().is_none(), "more than one {name} on {}", node.name);
    Ok(pid)
}

fn end(pid: Pid, name: &str, signal: Signal) -> Result<()> {
    kill(pid, signal).with_context(|| format!("end {name}"))?;
    let begun = Instant::now();
    while fs::metadata(format!("/proc/{pid}")).is_ok() {
        ensure!(begun.elapsed() < ENDS_WITHIN, "{name} does not end by {signal}");
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

impl Stopped {
    /// Starts it again.
    pub fn start(mut self) -> Result<()> {
        self.restore()
    }

    /// Starts another program in its place, with more words than its own; both end by SIGTERM.
    pub fn start_instead(&mut self, program: &Path, more: &[&str]) -> Result<()> {
        let mut words = self.words.clone();
        words[0] = program.into();
        words.extend(more.iter().map(Into::into));
        self.instead = true;
        self.run(&words)
    }

    /// The program that ran.
    pub fn program(&self) -> PathBuf {
        PathBuf::from(&self.words[0])
    }

    fn restore(&mut self) -> Result<()> {
        if self.runs {
            return Ok(());
        }
        // What could not be started has left nothing to end.
        if let (true, Ok(pid)) = (self.instead, running(&self.node, self.name, &self.group)) {
            end(pid, self.name, Signal::SIGTERM)?;
        }
        self.runs = true;
        self.run(&self.words)
    }

    /// With its own environment and log. It lives as long as the cluster.
    fn run(&self, words: &[OsString]) -> Result<()> {
        let log = self.node.dir.join("log").join(self.name);
        let log = OpenOptions::new().append(true).open(&log).with_context(|| log.display().to_string())?;
        let (nsenter, fixed) = self.node.enter.split_first().context("no words")?;
        // The fixed words end with `env` and what a shell needs: what follows counts.
        let mut command = Command::new(nsenter);
        command.args(fixed).env_clear();
        for (name, value) in &self.environment {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            command.arg(pair);
        }
        command.args(words).stdin(Stdio::null());
        command.stdout(log.try_clone().context("share the log")?).stderr(log).process_group(0);
        let group = self.group.clone();
        // SAFETY: the child writes a file between fork and exec, nothing else.
        unsafe {
            command.pre_exec(move || cgroup::join(&group).map_err(std::io::Error::other));
        }
        command.spawn().with_context(|| format!("start {}", self.name))?;
        // What xtask said of its end is no longer so.
        let _ = fs::remove_file(self.node.dir.join("exits").join(self.name));
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            eprintln!("{} of {} does not run again: {error:#}", self.name, self.node.name);
        }
    }
}

/// Waits until a node's agent says that it is ready.
pub fn agent_ready(node: &Node) -> Result<()> {
    let begun = Instant::now();
    loop {
        let output = node.command(&["app", "ask", "http://127.0.0.1:15095/readyz"]).output()?;
        if output.stdout.starts_with(b"200") {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(begun.elapsed() < READY_WITHIN, "the agent of {} is not ready: {}", node.name, said.trim());
        thread::sleep(LOOK_EVERY);
    }
}

fn command_line(pid: Pid) -> Vec<Vec<u8>> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = text.strip_suffix(&[0]).unwrap_or(&text);
    text.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// Its own words: nsenter and env have them too, behind others.
fn is(pid: Pid, words: &[&str]) -> bool {
    let line = command_line(pid);
    let program = |word: &[u8]| word.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    !words.is_empty()
        && line.len() >= words.len()
        && program(&line[0]) == words[0].as_bytes()
        && line.iter().zip(words).skip(1).all(|(has, wanted)| has == wanted.as_bytes())
}
