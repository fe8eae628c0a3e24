//! A node: containerd with a bridge network, and sidestep's agent.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::agent::path as lab_agent;
use tests::node_agent::plugin;
use tests::requirement::{Requirement, met};
use tests::sidestep::{Ended, binary, ended_command};
use tests::wait::until;

use crate::cri::Cri;
use crate::enclosure::{Enclosure, process};
use crate::image::{self, IMAGE, said};
use crate::messages::{VersionRequest, VersionResponse};

/// Who answers outside of every pod: the bridge's own address.
pub(crate) const WORLD: &str = "10.250.0.1:8080";
/// What it says.
pub(crate) const OF_THE_WORLD: &str = "the world";
pub(crate) const SOON: Duration = Duration::from_secs(30);
const SOCKET: &str = "/run/containerd/containerd.sock";
const PLUGINS: &str = "/usr/lib/cni";

#[derive(Debug)]
pub(crate) struct Node {
    containerd: Mutex<Option<Child>>,
    agent: Mutex<Option<Child>>,
    world: Mutex<Option<Child>>,
    enclosure: Enclosure,
}

/// Whether this machine can have one.
pub(crate) fn can_be_had() -> bool {
    met(&[
        Requirement::Root,
        Requirement::Cgroup2,
        Requirement::Sidestep,
        Requirement::CniPlugin,
        Requirement::Program("curl", "curl"),
        Requirement::Program("containerd", "containerd"),
        Requirement::Program("runc", "runc"),
        Requirement::Program("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ])
}

impl Node {
    /// With an agent that has installed its plugin and is ready.
    pub(crate) fn start(flags: &[&str]) -> Result<Self> {
        let node = Self::without_agent()?;
        node.run_agent(flags)?;
        node.ready();
        Ok(node)
    }

    /// containerd with its image, and who answers outside.
    pub(crate) fn without_agent() -> Result<Self> {
        let enclosure = Enclosure::make()?;
        let (containerd, agent, world) = <(Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        let node = Self { containerd, agent, world, enclosure };
        let directory = node.directory().to_owned();
        for name in ["cni", "bin", "logs"] {
            fs::create_dir(directory.join(name)).context("a directory of the node")?;
        }
        for name in ["bridge", "host-local", "loopback"] {
            symlink(Path::new(PLUGINS).join(name), directory.join("bin").join(name)).context("a plugin")?;
        }
        fs::write(node.list(), list().to_string()).context("the list of plugins")?;
        let runc = directory.join("runc");
        fs::write(&runc, WITHOUT_LIMITS).context("a wrapper of runc")?;
        fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).context("a wrapper of runc")?;
        fs::write(directory.join("config.toml"), configuration(&directory)).context("containerd.toml")?;
        node.run_containerd()?;
        node.import(&image::pack(&directory)?)?;
        let mut world = node.command(lab_agent()?);
        world.args(["serve", "--listen", "0.0.0.0:8080", "--banner", OF_THE_WORLD]);
        *locked(&node.world) = Some(started(world, "ready", &directory.join("world.log"))?);
        Ok(node)
    }

    /// Gives an image to containerd.
    pub(crate) fn import(&self, archive: &Path) -> Result<()> {
        said(self.command("ctr").args(["-n", "k8s.io", "images", "import"]).arg(archive))?;
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        self.enclosure.directory()
    }

    pub(crate) fn enclosure(&self) -> &Enclosure {
        &self.enclosure
    }

    /// The list of plugins that every pod's network is set up by.
    pub(crate) fn list(&self) -> PathBuf {
        self.directory().join("cni/10-lab.conflist")
    }

    /// The file that our plugin's entry is in: one of its own beside the list, where the runtime knows of those.
    pub(crate) fn entry(&self) -> PathBuf {
        let own = self.directory().join("cni/lab/99-sidestep-cni.conf");
        if own.exists() { own } else { self.list() }
    }

    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        self.enclosure.command(program)
    }

    pub(crate) fn run_containerd(&self) -> Result<()> {
        let mut command = self.command("containerd");
        let log = self.directory().join("containerd.log");
        let log = fs::File::options().append(true).create(true).open(log).context("containerd's log")?;
        command.arg("-c").arg(self.directory().join("config.toml"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *locked(&self.containerd) = Some(command.spawn().context("start containerd")?);
        until("containerd answers", SOON, || self.version().is_ok());
        Ok(())
    }

    pub(crate) fn end_containerd(&self, signal: Signal) -> Result<()> {
        end(&self.containerd, signal)
    }

    /// containerd's.
    pub(crate) fn socket(&self) -> PathBuf {
        self.enclosure.path(SOCKET)
    }

    pub(crate) fn cri(&self) -> Result<Cri> {
        Cri::connect(&self.socket())
    }

    /// Of containerd.
    pub(crate) fn version(&self) -> Result<String> {
        let answer: VersionResponse = self.cri()?.ask("Version", VersionRequest {})?;
        Ok(answer.runtime_version)
    }

    /// `sidestep run` as on a node: all its places are the usual ones.
    pub(crate) fn run_agent(&self, flags: &[&str]) -> Result<()> {
        let install = format!("--install-cni={}", plugin()?.display());
        self.run_bare_agent(&[&[install.as_str()], flags].concat())
    }

    /// The same, and somebody else looks after the plugin unless a flag says so.
    pub(crate) fn run_bare_agent(&self, flags: &[&str]) -> Result<()> {
        let mut command = self.command(binary()?);
        command.args(["run", "--every", "1"]).args(flags);
        command.arg(format!("--listen=unix:{}", self.metrics().display()));
        *locked(&self.agent) = Some(started(command, "ready", &self.directory().join("agent.log"))?);
        Ok(())
    }

    pub(crate) fn end_agent(&self, signal: Signal) -> Result<()> {
        end(&self.agent, signal)
    }

    /// As the machine counts.
    pub(crate) fn agent_pid(&self) -> Result<u32> {
        process(locked(&self.agent).as_ref().context("no agent runs")?)
    }

    /// What a reboot takes: everything pinned, and what is in /run for us.
    pub(crate) fn forget(&self) -> Result<()> {
        let all = "umount /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf && rm -r /run/sidestep";
        said(self.command("sh").args(["-c", all]))?;
        Ok(())
    }

    /// Waits until the agent knows of no pod.
    pub(crate) fn settled(&self) {
        until("the agent has forgotten all pods", SOON, || self.pods().is_ok_and(|pods| pods.is_empty()));
    }

    /// Waits until its agent is: the runtime has loaded the plugin.
    pub(crate) fn ready(&self) {
        until("the agent is ready", SOON, || self.get("/readyz").is_ok_and(|text| text.starts_with("ready")));
    }

    fn metrics(&self) -> PathBuf {
        self.directory().join("metrics.sock")
    }

    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut command = Command::new("curl");
        command.args(["-s", "--unix-socket"]).arg(self.metrics()).arg(format!("http://localhost{path}"));
        Ok(ended_command(command)?.stdout)
    }

    /// One of the agent's metrics; 0 where it is not there.
    pub(crate) fn metric(&self, series: &str) -> Result<f64> {
        let page = self.get("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| value.parse().context("a number"))
    }

    /// What the agent says of its pods.
    pub(crate) fn pods(&self) -> Result<Vec<Value>> {
        let page: Value = serde_json::from_str(&self.get("/api/v1/node")?).context("the node's document")?;
        page["agent"]["pods"].as_array().cloned().with_context(|| format!("no pods: {page:#}"))
    }

    /// State of the pod of this name, and why it is left alone; None: the agent does not know it.
    pub(crate) fn said_of(&self, name: &str) -> Result<Option<(String, String)>> {
        let pods = self.pods()?;
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let found = pods.iter().find(|row| row["pod"]["name"] == name);
        Ok(found.map(|row| (text(row, "state"), text(row, "word"))))
    }

    /// `sidestep` with these arguments, inside.
    pub(crate) fn sidestep(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.command(binary()?);
        command.args(arguments);
        ended_command(command)
    }

    /// Names of enrolled workloads: what is in the kernel.
    pub(crate) fn workloads(&self) -> Result<Vec<Value>> {
        let ended = self.sidestep(&["status", "--output", "json"])?;
        let status: Value =
            serde_json::from_str(&ended.stdout).with_context(|| format!("status: {ended:?}"))?;
        status["workloads"].as_array().cloned().context("no workloads")
    }

    /// What agents of this node have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory().join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("lab: the agent said:\n{}", self.log());
            let log = fs::read_to_string(self.directory().join("containerd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("level=info")).collect();
            eprintln!("lab: containerd said:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        for child in [&self.agent, &self.world, &self.containerd] {
            if let Err(error) = end(child, Signal::SIGKILL) {
                eprintln!("lab: {error:#}");
            }
        }
    }
}

/// Starts it and waits for this line.
fn started(mut command: Command, line: &str, log: &Path) -> Result<Child> {
    let file = fs::File::options().append(true).create(true).open(log).context("a log")?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn()?;
    let out = BufReader::new(child.stdout.take().context("no standard output")?);
    // It is read to the end: a server writes what it accepts.
    let mut lines = out.lines().map_while(Result::ok);
    let is_there = lines.by_ref().any(|said| said == line);
    ensure!(is_there, "{command:?} ended: {}", fs::read_to_string(log).unwrap_or_default());
    std::thread::spawn(move || lines.for_each(drop));
    Ok(child)
}

fn locked(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(child: &Mutex<Option<Child>>, signal: Signal) -> Result<()> {
    let Some(mut child) = locked(child).take() else { return Ok(()) };
    // One that has ended by itself has no process any more.
    if let Ok(inside) = process(&child) {
        kill(Pid::from_raw(inside.cast_signed()), signal).context("end a process of the node")?;
    }
    child.wait().context("wait for a process of the node")?;
    Ok(())
}

/// runc cannot set limits of controllers that cgroup v1 has on a machine.
const WITHOUT_LIMITS: &str = r#"#!/bin/sh
bundle=
previous=
for word; do
    case $previous in --bundle | -b) bundle=$word ;; esac
    case $word in --bundle=*) bundle=${word#--bundle=} ;; update) exit 0 ;; esac
    previous=$word
done
if [ -n "$bundle" ]; then
    sed -i 's/"memory":{[^{}]*}/"memory":{}/; s/"cpu":{[^{}]*}/"cpu":{}/' "$bundle/config.json"
fi
exec runc "$@"
"#;

fn configuration(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        r#"version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{directory}/bin"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{directory}/runc"
"#
    )
}

/// Without our plugin.
fn list() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "lab", "plugins": [{
        "type": "bridge", "bridge": "cri0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": "/run/cni-ipam",
            "ranges": [[{ "subnet": "10.250.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
        },
    }] })
}
