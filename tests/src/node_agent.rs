//! `sidestep run`, as on a node, and the CNI plugin asking it, as a container runtime does.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::client::Connect;
use crate::data_plane::DataPlane;
use crate::network::Network;
use crate::pin_root::{self, PinRoot};
use crate::pod::Pod;
use crate::report::Outcome;
use crate::requirement::Requirement;
use crate::sidestep::{self, Ended};

/// What the injector writes for a pod that waits to be captured.
pub const WAITS: &str = r#"{"initContainers":["istio-validation","istio-proxy"],"containers":null}"#;

const ENDS_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The annotations of such a pod.
pub const MESHED: &[(&str, &str)] = &[("sidecar.istio.io/status", WAITS)];

/// Whether the tests of the agent can run here.
pub fn met() -> bool {
    DataPlane::Sidestep.met(&[Requirement::Program("curl", "curl"), Requirement::CniPlugin])
}

/// What becomes of a call of the pod to a service.
pub fn outbound(network: &Network) -> Outcome {
    Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap().outcome()
}

pub fn is_enrolled(node: &NodeAgent, network: &Network) -> bool {
    node.root.status_of(&network.pod).is_ok()
}

/// What a runtime sets up.
#[derive(Clone, Debug)]
pub struct SetUp {
    pub name: String,
    pub netns: PathBuf,
    pub cgroup: PathBuf,
}

impl From<&Pod> for SetUp {
    fn from(pod: &Pod) -> Self {
        Self { name: pod.name().to_owned(), netns: pod.netns(), cgroup: pod.cgroup().to_owned() }
    }
}

/// A node: a bpffs, a directory of sockets, and an agent that may come and go.
#[derive(Debug)]
pub struct NodeAgent {
    pub root: PinRoot,
    directory: tempfile::TempDir,
    running: Option<Child>,
}

impl NodeAgent {
    /// A node without an agent.
    pub fn absent() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("lab-agent").tempdir().context("make a directory")?;
        Ok(Self { root: PinRoot::new()?, directory, running: None })
    }

    pub fn start(flags: &[&str]) -> Result<Self> {
        let mut node = Self::absent()?;
        node.run(flags)?;
        Ok(node)
    }

    /// Where the plugin asks.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("cni.sock")
    }

    pub fn command(&self, flags: &[&str]) -> Result<Command> {
        let mut command = Command::new(sidestep::binary()?);
        command
            .args(["run", "--cni-socket"])
            .arg(self.socket())
            .arg(format!("--listen=unix:{}", self.metrics_socket().display()))
            .args(flags)
            .env(pin_root::VARIABLE, self.root.path());
        if !flags.contains(&"--every") {
            command.args(["--every", "1"]);
        }
        Ok(command)
    }

    /// Where it has its sockets and its log.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts an agent; returns once it is ready for questions.
    pub fn run(&mut self, flags: &[&str]) -> Result<()> {
        self.run_by(self.command(flags)?)
    }

    /// The same with a command that ends in [`Self::command`].
    pub fn run_by(&mut self, mut command: Command) -> Result<()> {
        let log = std::fs::File::options().append(true).create(true).open(self.log()).context("the log")?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().context("start the agent")?;
        let out = BufReader::new(child.stdout.take().context("its standard output")?);
        let is_ready = out.lines().map_while(Result::ok).any(|line| line == "ready");
        self.running = Some(child);
        ensure!(is_ready, "the agent ended: {}", self.said());
        Ok(())
    }

    /// Ends it by this signal.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        kill(Pid::from_raw(child.id().cast_signed()), signal).context("end the agent")?;
        let until = Instant::now() + ENDS_WITHIN;
        while Instant::now() < until {
            if child.try_wait().context("wait for the agent")?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        child.kill().context("kill the agent")?;
        child.wait().context("wait for the agent")?;
        bail!("{signal} did not end the agent within {ENDS_WITHIN:?}")
    }

    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(Child::id)
    }

    /// What agents of this node have logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Where its page is.
    pub fn metrics_socket(&self) -> PathBuf {
        self.directory.path().join("metrics.sock")
    }

    /// What its server answers at this path.
    pub fn get(&self, path: &str) -> Result<String> {
        let socket = self.metrics_socket();
        let mut command = Command::new("curl");
        command.args(["-s", "--unix-socket"]).arg(socket).arg(format!("http://localhost{path}"));
        Ok(sidestep::ended_command(command)?.stdout)
    }

    /// One of its metrics; 0 where it is not there.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let page = self.get("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| value.parse().context("a number"))
    }

    /// The runtime sets `pod` up: `CNI_COMMAND=ADD`, with these annotations. `entry`: more of the plugin's entry.
    pub fn add(&self, pod: impl Into<SetUp>, annotations: &[(&str, &str)], entry: &Value) -> Result<Ended> {
        let annotations: Value = annotations.iter().map(|(name, value)| (*name, *value)).collect();
        self.call("ADD", &pod.into(), Some(annotations), entry)
    }

    pub fn del(&self, pod: impl Into<SetUp>) -> Result<Ended> {
        self.call("DEL", &pod.into(), None, &json!({}))
    }

    /// As a container runtime calls the plugin.
    pub fn call(&self, verb: &str, pod: &SetUp, annotations: Option<Value>, entry: &Value) -> Result<Ended> {
        let mount = crate::cgroup::mount()?;
        let cgroup = pod.cgroup.strip_prefix(&mount).context("a cgroup below the mount")?;
        let mut runtime = json!({ "cgroupPath": format!("/{}", cgroup.display()) });
        if let Some(annotations) = annotations {
            runtime["io.kubernetes.cri.pod-annotations"] = annotations;
        }
        let mut config = json!({
            "cniVersion": "1.0.0", "name": "lab", "type": "sidestep-cni", "socket": self.socket(),
            "runtimeConfig": runtime, "prevResult": prev_result(),
        });
        for (key, value) in entry.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let mut command = Command::new(plugin()?);
        command
            .env_clear()
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", sandbox(pod))
            .env("CNI_NETNS", &pod.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/opt/cni/bin")
            // The cgroup bears the pod's uid, as kubelet has it.
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME={};K8S_POD_UID={}",
                    pod.name,
                    cgroup.display()
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("run the CNI plugin")?;
        let mut stdin = child.stdin.take().context("its standard input")?;
        stdin.write_all(config.to_string().as_bytes()).context("tell the plugin")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for the plugin")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}

/// What the plugin before ours has answered.
pub fn prev_result() -> Value {
    json!({ "cniVersion": "1.0.0", "interfaces": [{ "name": "eth0" }], "ips": [], "dns": {} })
}

/// A pod's sandbox, as the runtime calls it.
fn sandbox(pod: &SetUp) -> String {
    format!("sandbox-of-{}", pod.cgroup.file_name().unwrap_or_default().display())
}

/// The CNI plugin: `SIDESTEP_CNI`, else beside the binary `sidestep`.
pub fn plugin() -> Result<PathBuf> {
    let named = std::env::var_os("SIDESTEP_CNI").map(PathBuf::from);
    let beside = || Ok::<_, anyhow::Error>(sidestep::binary()?.with_file_name("sidestep-cni"));
    let path = named.map_or_else(beside, Ok)?;
    ensure!(path.is_file(), "no CNI plugin at {}: `cargo xtask build`, or set SIDESTEP_CNI", path.display());
    Ok(path)
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        if let Err(error) = self.end(Signal::SIGTERM) {
            eprintln!("lab: {error:#}");
        }
        if std::thread::panicking() {
            eprintln!("lab: the agent said:\n{}", self.said());
        }
    }
}
