//! A pod, and the application in it, which takes orders on a socket in its container.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ::tests::sidestep;
use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;

use super::account::Account;
use super::cluster::Cluster;
use super::pods::{self, NAMESPACE, SOCKET};

const READY_WITHIN: Duration = Duration::from_secs(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) pod: String,
    pub(crate) account: Account,
    uid: String,
    pid: Pid,
    socket: BufReader<UnixStream>,
}

/// What the application says of an order.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) ok: u64,
    pub(crate) errors: u64,
    #[serde(default)]
    pub(crate) faults: std::collections::BTreeMap<String, u64>,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    #[serde(default)]
    pub(crate) body: String,
}

impl Driver {
    pub(crate) fn find(cluster: &Cluster, pod: String) -> Result<Self> {
        let uid = pods::uid(cluster, &pod)?;
        let account = Account::of(cluster, &uid)?;
        let app = account.processes().into_iter().find(|pid| {
            fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"/bin/app\0drive\0"))
        });
        let pid = app.with_context(|| format!("{pod}: its application does not run"))?;
        let socket = connect(pid).with_context(|| format!("reach the application of {pod}"))?;
        Ok(Self { pod, account, uid, pid, socket: BufReader::new(socket) })
    }

    pub(crate) fn order(&mut self, order: &Value) -> Result<Answer> {
        writeln!(self.socket.get_mut(), "{order}")
            .with_context(|| format!("order {} something", self.pod))?;
        let mut line = String::new();
        self.socket.read_line(&mut line).with_context(|| format!("hear from {}", self.pod))?;
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", self.pod))
    }

    /// One request, whose answer is text.
    pub(crate) fn ask(&mut self, kind: &str, target: &str) -> Result<String> {
        let answer = self.order(&serde_json::json!({ "kind": kind, "target": target }))?;
        ensure!(answer.errors == 0, "{} asks {target}: {:?}", self.pod, answer.faults);
        Ok(answer.body.trim().to_owned())
    }

    /// Attaches again as the plugin did, and vouches for the application: by its file as the container has it.
    pub(crate) fn vouch(&self, cluster: &Cluster) -> Result<()> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).context("read its status")?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        // Ours first, the container's last; the node's is between them.
        let pid = pids.split_whitespace().nth(1).context("it is in no namespace of the node")?;
        let binary = sidestep::binary()?.display().to_string();
        let (netns, cgroup) = (format!("/proc/{pid}/ns/net"), self.account.cgroup.display().to_string());
        let (program, annotations) =
            (format!("/proc/{pid}/root/bin/app"), format!("/run/annotations-{}", self.uid));
        let name = format!("{NAMESPACE}/{}", self.pod);
        let said = cluster.run(&[
            &binary,
            "attach",
            "--netns",
            &netns,
            "--cgroup",
            &cgroup,
            "--annotations",
            &annotations,
            "--defaults",
            "cni",
            "--pod",
            &name,
            "--trust-program",
            &program,
        ])?;
        ensure!(said.contains("updated") || said.contains("attached"), "attach said: {said}");
        Ok(())
    }
}

/// A path into the container is as good as a path of ours for a socket.
fn connect(pid: Pid) -> Result<UnixStream> {
    let (path, begun) = (format!("/proc/{pid}/root{SOCKET}"), Instant::now());
    let socket = loop {
        match UnixStream::connect(&path) {
            Ok(socket) => break socket,
            Err(error) if begun.elapsed() > READY_WITHIN => bail!("connect to {path}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    socket.set_read_timeout(Some(ANSWER_WITHIN)).context("limit how long to wait")?;
    Ok(socket)
}
