//! Pods, made and ended as kubelet does it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::node_agent::WAITS;
use tests::report::{Connected, Outcome};
use tests::wait::until_looking;

use crate::cri::Cri;
use crate::image::{IMAGE, PROGRAM};
use crate::messages::*;
use crate::node::{Node, OF_THE_WORLD, SOON, WORLD};

const LOOK_EVERY: Duration = Duration::from_millis(30);
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// The state of a container that has ended.
const EXITED: i32 = 2;

/// uid of applications.
pub(crate) const APP: u32 = 1000;
/// That of sidecars.
pub(crate) const SIDECAR: u32 = 1337;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A pod to run.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) options: NamespaceOption,
    /// Its containers may be.
    pub(crate) privileged: bool,
    /// How many sandboxes of this pod there were before.
    pub(crate) attempt: u32,
}

impl Spec {
    pub(crate) fn plain(name: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let uid = format!("{:08x}-0000-4000-8000-{number:012x}", std::process::id());
        let (name, namespace) = (name.to_owned(), "shop".to_owned());
        let options = NamespaceOption { pid: 1, ..NamespaceOption::default() };
        Self { name, namespace, uid, annotations: BTreeMap::new(), options, privileged: false, attempt: 0 }
    }

    /// One that the injector has been at.
    pub(crate) fn meshed(name: &str) -> Self {
        Self::plain(name).annotated(&[("sidecar.istio.io/status", WAITS)])
    }

    pub(crate) fn annotated(mut self, annotations: &[(&str, &str)]) -> Self {
        let more = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.annotations.extend(more);
        self
    }

    /// As kubelet has it: the name of the pod's cgroup bears its uid.
    fn cgroup(&self) -> String {
        format!("/kubepods/burstable/pod{}", self.uid)
    }

    fn config(&self, node: &Node) -> PodSandboxConfig {
        let labels = [("name", &self.name), ("namespace", &self.namespace), ("uid", &self.uid)];
        let labels = labels.map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value.clone()));
        let is_the_nodes = self.options.network == 2;
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: self.name.clone(),
                uid: self.uid.clone(),
                namespace: self.namespace.clone(),
                attempt: self.attempt,
            }),
            hostname: if is_the_nodes { String::new() } else { self.name.clone() },
            log_directory: node.directory().join("logs").join(&self.uid).display().to_string(),
            labels: labels.into(),
            annotations: self.annotations.clone(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: self.cgroup(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(self.options.clone()),
                    privileged: self.privileged,
                }),
            }),
        }
    }
}

/// One that runs; removed when dropped.
#[derive(Debug)]
pub(crate) struct Pod {
    /// The runtime's; it may be another process with each question.
    socket: PathBuf,
    spec: Spec,
    config: PodSandboxConfig,
    cgroup: PathBuf,
    sandbox: String,
}

/// A container that has been started.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    id: String,
    log: PathBuf,
}

/// What has become of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) Connected);

impl Told {
    pub(crate) fn outcome(&self) -> Outcome {
        self.0.outcome()
    }

    /// It got where it was sent.
    pub(crate) fn is_the_worlds(&self) -> bool {
        self.0.received.trim() == OF_THE_WORLD
    }
}

impl Pod {
    /// The pod's cgroup, its directory of logs, its sandbox.
    pub(crate) fn run(node: &Node, spec: Spec) -> Result<Self> {
        let socket = node.socket();
        let config = spec.config(node);
        let cgroup = node.enclosure().cgroup().join(spec.cgroup().trim_start_matches('/'));
        fs::create_dir_all(&cgroup).context("the pod's cgroup")?;
        fs::create_dir_all(&config.log_directory).context("the pod's logs")?;
        let asked = RunPodSandboxRequest { config: Some(config.clone()) };
        let made: RunPodSandboxResponse = Cri::connect(&socket)?.ask("RunPodSandbox", asked)?;
        Ok(Self { socket, spec, config, cgroup, sandbox: made.pod_sandbox_id })
    }

    /// As kubelet does it: what has failed because no agent answers is tried again, with another sandbox.
    ///
    /// # Panics
    /// When it fails for another reason, or for too long.
    pub(crate) fn run_with_patience(node: &Node, spec: Spec) -> Self {
        let begun = Instant::now();
        for attempt in 0.. {
            match Self::run(node, Spec { attempt, ..spec.clone() }) {
                Ok(pod) => return pod,
                Err(error) => {
                    let said = format!("{error:#}");
                    assert!(
                        said.contains("sidestep's agent, which does not answer"),
                        "{}: {said}",
                        spec.name
                    );
                    assert!(begun.elapsed() < SOON, "{}: {said}", spec.name);
                }
            }
            std::thread::sleep(RETRY_EVERY);
        }
        unreachable!("every attempt returns or panics")
    }

    fn cri(&self) -> Result<Cri> {
        Cri::connect(&self.socket)
    }

    pub(crate) fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// Runs `lab-agent` with these arguments in a container, as this user.
    pub(crate) fn start(&self, container: &str, user: u32, arguments: &[&str]) -> Result<Container> {
        let user = Some(Int64Value { value: user.into() });
        let config = ContainerConfig {
            image: Some(ImageSpec { image: IMAGE.to_owned() }),
            command: [PROGRAM].iter().chain(arguments).map(|word| (*word).to_owned()).collect(),
            linux: Some(LinuxContainerConfig {
                security_context: Some(LinuxContainerSecurityContext {
                    run_as_user: user.clone(),
                    run_as_group: user,
                    ..LinuxContainerSecurityContext::default()
                }),
            }),
            ..ContainerConfig::default()
        };
        self.start_container(container, config)
    }

    /// Starts it under this name, in the pod's namespaces.
    pub(crate) fn start_container(&self, name: &str, mut config: ContainerConfig) -> Result<Container> {
        // Each of them is another one to the runtime.
        let attempt = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = format!("{name}-{attempt}.log");
        config.metadata = Some(ContainerMetadata { name: name.to_owned(), attempt });
        config.labels.insert("io.kubernetes.container.name".to_owned(), name.to_owned());
        config.log_path.clone_from(&log);
        if let Some(context) = config.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) {
            context.namespace_options = Some(self.spec.options.clone());
        }
        let asked = CreateContainerRequest {
            pod_sandbox_id: self.sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let made: CreateContainerResponse = self.cri()?.ask("CreateContainer", asked)?;
        let id = made.container_id;
        let _: Nothing = self.cri()?.ask("StartContainer", ContainerId { container_id: id.clone() })?;
        Ok(Container { id, log: PathBuf::from(&self.config.log_directory).join(log) })
    }

    /// Runs it to its end, and returns what it has printed.
    pub(crate) fn output(&self, container: &str, user: u32, arguments: &[&str]) -> Result<String> {
        let started = self.start(container, user, arguments)?;
        self.ended(&started);
        started.said()
    }

    /// Another container, of an application that connects to the world.
    pub(crate) fn connect(&self) -> Result<Told> {
        self.connect_as(APP)
    }

    pub(crate) fn connect_as(&self, user: u32) -> Result<Told> {
        let said = self.output("app", user, &["connect", "--to", WORLD])?;
        Ok(Told(serde_json::from_str(&said).with_context(|| format!("no report: {said}"))?))
    }

    /// A container that serves; returns when it does.
    pub(crate) fn serve(&self, container: &str, user: u32, flags: &[&str]) -> Result<Container> {
        let started = self.start(container, user, &[&["serve"], flags].concat())?;
        until_looking(LOOK_EVERY, "the container serves", SOON, || {
            started.said().is_ok_and(|said| said.starts_with("ready"))
        });
        Ok(started)
    }

    pub(crate) fn ended(&self, container: &Container) {
        until_looking(LOOK_EVERY, "the container ends", SOON, || self.has_ended(container).unwrap());
    }

    pub(crate) fn has_ended(&self, container: &Container) -> Result<bool> {
        let asked = ContainerId { container_id: container.id.clone() };
        let answer: ContainerStatusResponse = self.cri()?.ask("ContainerStatus", asked)?;
        Ok(answer.status.is_some_and(|status| status.state == EXITED))
    }

    /// Runs a program of its image in it, as `kubectl exec` does.
    pub(crate) fn exec(&self, container: &Container, command: &[&str]) -> Result<ExecSyncResponse> {
        let asked = ExecSyncRequest {
            container_id: container.id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: SOON.as_secs().cast_signed(),
        };
        self.cri()?.ask("ExecSync", asked)
    }

    pub(crate) fn kill(&self, container: &Container) -> Result<()> {
        let asked = StopContainerRequest { container_id: container.id.clone(), timeout: 0 };
        self.cri()?.ask::<_, Nothing>("StopContainer", asked)?;
        Ok(())
    }

    pub(crate) fn address(&self) -> Result<String> {
        let asked = PodSandboxStatusRequest { pod_sandbox_id: self.sandbox.clone() };
        let answer: PodSandboxStatusResponse = self.cri()?.ask("PodSandboxStatus", asked)?;
        Ok(answer.status.and_then(|status| status.network).context("no network")?.ip)
    }

    pub(crate) fn stop_sandbox(&self) -> Result<()> {
        let asked = PodSandboxId { pod_sandbox_id: self.sandbox.clone() };
        self.cri()?.ask::<_, Nothing>("StopPodSandbox", asked)?;
        Ok(())
    }

    /// The pod's cgroup stays, for its next sandbox.
    pub(crate) fn remove_sandbox(&mut self) -> Result<()> {
        let asked = PodSandboxId { pod_sandbox_id: std::mem::take(&mut self.sandbox) };
        self.cri()?.ask::<_, Nothing>("RemovePodSandbox", asked)?;
        Ok(())
    }

    /// Ends it as kubelet does: the cgroup goes last.
    pub(crate) fn remove(mut self) -> Result<()> {
        self.removed()
    }

    fn removed(&mut self) -> Result<()> {
        if self.sandbox.is_empty() {
            return Ok(());
        }
        self.stop_sandbox()?;
        self.remove_sandbox()?;
        remove_cgroup(&self.cgroup)
    }
}

/// With what containers have left in it.
fn remove_cgroup(cgroup: &std::path::Path) -> Result<()> {
    for entry in fs::read_dir(cgroup).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", cgroup.display()))
        }
        _ => Ok(()),
    }
}

impl Container {
    /// What it has printed, without the times and streams that containerd writes before each line.
    pub(crate) fn said(&self) -> Result<String> {
        let log = fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(log
            .lines()
            .filter_map(|line| line.splitn(4, ' ').nth(3))
            .map(|line| format!("{line}\n"))
            .collect())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // A test that has failed may have ended its runtime.
        if let Err(error) = self.removed()
            && !std::thread::panicking()
        {
            eprintln!("lab: {error:#}");
        }
    }
}
