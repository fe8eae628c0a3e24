//! Running a program in a pod, as a user, with its output kept.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;

use crate::pod::Pod;
use crate::sidestep::Ended;
use crate::transcript::Transcript;
use crate::{agent, cgroup};

/// Longest a command may run under [`Command::run`].
pub const RUN_WITHIN: Duration = Duration::from_secs(60);
/// Longest a server may take to say it is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum Input {
    Null,
    Text(String),
    Held,
}

/// A program to run in a pod.
#[derive(Debug)]
pub struct Command {
    pod: Pod,
    netns: PathBuf,
    cgroup: PathBuf,
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    user: (u32, u32),
    etc: Option<PathBuf>,
    input: Input,
}

impl Command {
    pub(crate) fn new(pod: &Pod, program: &OsStr) -> Self {
        Self {
            pod: pod.clone(),
            netns: pod.netns(),
            cgroup: pod.cgroup().to_owned(),
            program: program.to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            user: (0, 0),
            etc: None,
            input: Input::Null,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as this uid and gid, without supplementary groups.
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = (uid, gid);
        self
    }

    /// With this directory in the place of /etc, as in a container of another image.
    pub fn etc(mut self, directory: PathBuf) -> Self {
        self.etc = Some(directory);
        self
    }

    /// In the pod's namespace but in the cgroup2 root: not of the workload.
    pub fn outside_cgroup(mut self) -> Result<Self> {
        self.cgroup = cgroup::mount()?;
        Ok(self)
    }

    /// In the pod's namespace but in this cgroup, one of its containers'.
    pub fn in_cgroup(mut self, cgroup: PathBuf) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// In the pod's cgroup but in another pod's namespace.
    pub fn in_netns_of(mut self, other: &Pod) -> Self {
        self.netns = other.netns();
        self
    }

    /// Text for its standard input (small: it is written in one go).
    pub fn input(mut self, text: &str) -> Self {
        self.input = Input::Text(text.to_owned());
        self
    }

    /// Keeps its standard input open until [`Process::close_input`] or the drop.
    pub fn hold_input(mut self) -> Self {
        self.input = Input::Held;
        self
    }

    fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Process> {
        let line = self.line();
        let stdin = if matches!(self.input, Input::Null) { Stdio::null() } else { Stdio::piped() };
        let mut child = std::process::Command::new(agent::path()?)
            .arg("enter")
            .arg("--netns")
            .arg(&self.netns)
            .arg("--cgroup")
            .arg(&self.cgroup)
            .args(self.etc.iter().flat_map(|etc| [OsStr::new("--etc"), etc.as_os_str()]))
            .args(["--uid", &self.user.0.to_string(), "--gid", &self.user.1.to_string(), "--"])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.envs)
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {line}"))?;
        let stdout = Transcript::follow(child.stdout.take().context("no stdout")?);
        let stderr = Transcript::follow(child.stderr.take().context("no stderr")?);
        let mut stdin = child.stdin.take();
        if let Input::Text(text) = self.input
            && let Some(mut pipe) = stdin.take()
        {
            pipe.write_all(text.as_bytes()).with_context(|| format!("write to {line}"))?;
        }
        Ok(Process { pod: self.pod, line, child, stdin, stdout, stderr, ended: None })
    }

    /// Runs it to its end, at most [`RUN_WITHIN`]; an error unless it succeeds. Returns its standard output.
    pub fn run(self) -> Result<String> {
        let mut process = self.spawn()?;
        let status = process.wait(RUN_WITHIN)?;
        if !status.success() {
            bail!("`{}` in pod {}: {status}: {}", process.line, process.pod.name(), process.stderr().trim());
        }
        Ok(process.stdout())
    }

    /// Runs it to its end, at most [`RUN_WITHIN`], whatever it says.
    pub fn ended(self) -> Result<Ended> {
        let mut process = self.spawn()?;
        let status = process.wait(RUN_WITHIN)?;
        Ok(Ended { code: status.code(), stdout: process.stdout(), stderr: process.stderr() })
    }

    /// Runs it and reads its standard output as JSON.
    pub fn run_json<T: DeserializeOwned>(self) -> Result<T> {
        let line = self.line();
        let text = self.run()?;
        serde_json::from_str(&text).with_context(|| format!("`{line}` printed {text:?}"))
    }
}

/// A running program; ends with this value.
#[derive(Debug)]
pub struct Process {
    pod: Pod,
    line: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Transcript,
    stderr: Transcript,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Its pid (the same before and after it entered the pod).
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pod it runs in.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// The command line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The transcript of its standard output, to wait on.
    pub fn output(&self) -> &Transcript {
        &self.stdout
    }

    /// The transcript of its standard error, to wait on.
    pub fn errors(&self) -> &Transcript {
        &self.stderr
    }

    /// Waits for a line of standard output that is exactly `token`.
    pub fn wait_for(&self, token: &str) -> Result<()> {
        let seen =
            self.stdout.wait(READY_WITHIN, |text| text.lines().any(|line| line == token).then_some(()));
        seen.with_context(|| format!("`{}` never said {token:?}: {}", self.line, self.stderr().trim()))
    }

    /// Whether it still runs (its standard output is open).
    pub fn is_running(&self) -> bool {
        !self.stdout.wait_end(Duration::ZERO)
    }

    /// Writes a line to its standard input, which [`Command::hold_input`] keeps open.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().with_context(|| format!("`{}` has no standard input", self.line))?;
        stdin.write_all(format!("{line}\n").as_bytes()).with_context(|| format!("write to {}", self.line))
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end; kills it and fails after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        self.close_input();
        if let Some(status) = self.ended {
            return Ok(status);
        }
        // Both ends of stream come with the process's end: no need to poll for the status.
        let ended = self.stdout.wait_end(within) && self.stderr.wait_end(within);
        if !ended {
            self.child.kill().ok();
        }
        let status = self.child.wait().with_context(|| format!("wait for {}", self.line))?;
        self.ended = Some(status);
        if !ended {
            bail!("`{}` still ran after {within:?}: {}", self.line, self.stderr().trim());
        }
        Ok(status)
    }

    /// Sends a signal; does nothing once it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        kill(pid, signal).with_context(|| format!("send {signal} to {}", self.line))
    }

    /// Asks it to end (SIGTERM) and waits.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(within)
    }

    /// Lines of its standard output that are JSON of type `T`.
    pub fn records<T: DeserializeOwned>(&self) -> Vec<T> {
        records(&self.stdout())
    }
}

/// Lines of `text` that are JSON of type `T`.
pub(crate) fn records<T: DeserializeOwned>(text: &str) -> Vec<T> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // Killing a child that ended by itself is an error that does not matter.
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("lab: in pod {}: {} ({:?})", self.pod.name(), self.line, self.ended);
            print_tail("stdout", &self.stdout());
            print_tail("stderr", &self.stderr());
        }
    }
}

/// Prints the last lines of a log to standard error.
pub(crate) fn print_tail(title: &str, text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(20)..] {
        eprintln!("lab:   {title}: {line}");
    }
}

/// Where a program is, on PATH or where the system's own are.
pub fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    std::env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether it is there.
pub fn on_path(program: &str) -> bool {
    path_of(program).is_some()
}

/// The release of containerd on PATH: its first number, and all of it.
pub(crate) fn containerd() -> Result<(u32, String)> {
    let output =
        std::process::Command::new("containerd").arg("--version").output().context("run containerd")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1", or with a v.
    let text = said.split_whitespace().nth(2).with_context(|| format!("containerd --version: {said}"))?;
    let first = text.trim_start_matches('v').split('.').next().unwrap_or_default();
    Ok((first.parse().with_context(|| format!("containerd --version: {said}"))?, text.to_owned()))
}
