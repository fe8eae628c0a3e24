//! Namespaces with a first process of ours: a node's, or those of the outside.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    cgroup, enter,
    init::{Order, READY},
    interrupt, processes,
};
use crate::step;

const STEP: Duration = Duration::from_millis(100);

/// Ends with `up`, unless it is kept.
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) pid: i32,
    /// Gone once it is kept.
    orders: Option<ChildStdin>,
    unshare: Child,
}

impl Machine {
    /// `node`: with the mounts of one; else network namespace and processes alone are its own.
    pub(crate) fn start(name: &str, dir: &Path, cgroup: &str, node: bool) -> Result<Self> {
        let own = format!("{cgroup}/system");
        cgroup::create(&own)?;
        let procs = cgroup::unified()?.join(own.trim_start_matches('/')).join("cgroup.procs");
        let log = dir.join("log");
        fs::create_dir_all(&log).with_context(|| format!("create {}", log.display()))?;
        let error = fs::File::create(log.join("init")).context("create the log of init")?;
        // A session of its own, so that Ctrl-C and the end of a terminal reach us and not the node.
        let mut command = step::command("setsid");
        command
            .args([
                "unshare",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .arg("--")
            .arg(env::current_exe().context("find xtask itself")?)
            .args(["cluster", "init", "--dir"])
            .arg(dir)
            .arg("--procs")
            .arg(&procs)
            .args(node.then_some("--node"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(error);
        let mut unshare = command.spawn().context("run setsid")?;
        let orders = unshare.stdin.take();
        let output = unshare.stdout.take().context("stdout of init")?;
        let parent = unshare.id();
        let (name, dir, cgroup) = (name.to_owned(), dir.to_path_buf(), cgroup.to_owned());
        // From here on it ends with the value.
        let mut machine = Self { name, dir, cgroup, pid: 0, orders, unshare };
        fs::write(&procs, parent.to_string()).context("move unshare to the cluster's cgroup")?;
        let mut first = String::new();
        BufReader::new(output).read_line(&mut first).context("read what init says")?;
        if first.trim() != READY {
            let said = fs::read_to_string(log.join("init")).unwrap_or_default();
            bail!("{} did not start: {}", machine.name, said.trim());
        }
        machine.pid = processes::child(parent)?.context("unshare has no child")?;
        Ok(machine)
    }

    fn order(&mut self, order: &Order) -> Result<()> {
        let line = serde_json::to_string(order).context("write an order")?;
        let orders = self.orders.as_mut().context("nobody listens")?;
        writeln!(orders, "{line}").with_context(|| format!("{} has ended", self.name))
    }

    /// Starts a component, as a child of the node's first process.
    pub(crate) fn run(&mut self, name: &str, bin: &Path, command: Vec<String>) -> Result<()> {
        interrupt::check()?;
        let environment = BTreeMap::from([("PATH".to_owned(), enter::path(bin))]);
        self.order(&Order::Start { name: name.to_owned(), command, environment })
    }

    /// Lets it live on when we end.
    pub(crate) fn keep(mut self, hours: u64) -> Result<()> {
        self.order(&Order::Keep(hours * 3600))?;
        self.orders = None;
        Ok(())
    }

    /// Tries until it works; fails when a component ends, after `seconds`, and at Ctrl-C.
    pub(crate) fn until(&self, what: &str, seconds: u64, mut works: impl FnMut() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !works() {
            interrupt::check()?;
            if let Some((component, how)) = self.ended() {
                let log = self.dir.join("log").join(&component);
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!(
                    "{component} of {} ended ({how}); {} says:\n{}",
                    self.name,
                    log.display(),
                    last.join("\n")
                );
            }
            if begun.elapsed() > Duration::from_secs(seconds) {
                bail!("{what}: not after {seconds} s; the logs are in {}", self.dir.join("log").display());
            }
            thread::sleep(STEP);
        }
        Ok(())
    }

    fn ended(&self) -> Option<(String, String)> {
        let entry = fs::read_dir(self.dir.join("exits")).ok()?.flatten().next()?;
        Some((entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path()).ok()?))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.orders.take().is_some() {
            // Its child ends with it, and with the child the namespaces and everything in them.
            let _ = self.unshare.kill();
            let _ = self.unshare.wait();
        }
    }
}
