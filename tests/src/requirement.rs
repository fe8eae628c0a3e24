//! What a test needs of its machine. A test that cannot run says why and is counted as skipped; where
//! `SIDESTEP_STRICT` is set (CI) it fails, unless `SIDESTEP_MAY_SKIP` (comma separated) names the requirement.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::Uid;

use crate::iptables::{self, Backend};
use crate::kernel::{self, Lack};
use crate::{
    cgroup, cluster, earlier, envoy, helm, istio_iptables, node_agent, our_image, process, sidestep,
};

/// Something a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    Root,
    Cgroup2,
    /// A hierarchy of cgroup v1 besides.
    Cgroup1,
    /// The cluster of `cargo xtask cluster`, which takes Go.
    Cluster,
    /// The same with sidestep in a DaemonSet.
    DaemonSet,
    /// The same with the agent as a process of each node.
    AgentProcess,
    /// sidestep-cni, beside sidestep.
    CniPlugin,
    Envoy,
    /// Helm, and the schemas of Kubernetes.
    Helm,
    /// The container image of the binaries under test.
    Image,
    Sidestep,
    /// Memory limits of cgroup2: absent where cgroup v1 has the controller.
    MemoryController,
    /// Memory cgroups of either version.
    MemoryCgroups,
    /// MPTCP: CONFIG_MPTCP, and net.mptcp.enabled.
    Mptcp,
    /// `TCP_ULP` "tls": CONFIG_TLS, built in or a module that can be loaded.
    KernelTls,
    Iptables(Backend),
    /// The sidestep of an earlier commit.
    EarlierBuild(&'static str),
    /// Istio's own istio-iptables: built by `cargo xtask cluster build`, where Go is.
    IstioIptables,
    /// A feature of the kernel, as `sidestep doctor` names it.
    Kernel(&'static str),
    /// The features the acceleration takes.
    Acceleration,
    /// Those flow records take.
    Observation,
    /// A release of Linux (major, minor), for what no probe shows; and what it has that those before have not.
    Linux(u32, u32, &'static str),
    /// A release of containerd (major), and what it has that those before have not.
    Containerd(u32, &'static str),
    /// A program on PATH, with the Debian package that has it.
    Program(&'static str, &'static str),
}

impl Requirement {
    fn name(self) -> String {
        match self {
            Self::Iptables(backend) => format!("iptables-{backend:?}").to_lowercase(),
            Self::Program(program, _) => program.to_owned(),
            Self::Kernel(feature) => feature.to_owned(),
            Self::EarlierBuild(_) => "earlierbuild".to_owned(),
            Self::Linux(major, minor, _) => format!("linux-{major}.{minor}"),
            Self::Containerd(major, _) => format!("containerd-{major}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// The features of the kernel it stands for.
    const fn features(&self) -> &[&'static str] {
        match self {
            Self::Kernel(feature) => std::slice::from_ref(feature),
            Self::Acceleration => &["safe_sockmap", "btf", "read_kernel_memory"],
            Self::Observation => &["atomic_fetch", "btf", "read_kernel_memory"],
            _ => &[],
        }
    }

    /// Those this kernel has not.
    fn lacks(self) -> Result<Vec<Lack>> {
        let lacks = self.features().iter().map(|feature| kernel::lack(feature));
        lacks.filter_map(Result::transpose).collect()
    }

    /// Whether the release of what is asked does not have the feature. One that should have it is no excuse.
    fn is_not_of_this_release(self) -> bool {
        match self {
            Self::Kernel(_) | Self::Acceleration | Self::Observation => {
                self.lacks().is_ok_and(|lacks| !lacks.is_empty() && lacks.iter().all(|lack| lack.may_skip))
            }
            Self::Linux(major, minor, _) => kernel::release().is_ok_and(|release| release < (major, minor)),
            Self::Containerd(major, _) => process::containerd().is_ok_and(|(release, _)| release < major),
            _ => false,
        }
    }

    /// Why it is not met, if so.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!Uid::effective().is_root()).then(|| "needs root".to_owned()),
            Self::Cgroup2 => cgroup::mount().err().map(|error| format!("{error:#}")),
            Self::Cgroup1 => cgroup::mount_v1().err().map(|error| format!("{error:#}")),
            Self::Cluster => cluster::missing(),
            Self::DaemonSet => cluster::daemonset_missing(),
            Self::AgentProcess => cluster::agent_process_missing(),
            Self::Envoy => envoy::binary().is_none().then(|| "no Envoy: `cargo xtask setup`".to_owned()),
            Self::Helm => helm::missing(),
            Self::Image => our_image::path().err().map(|error| format!("{error:#}")),
            Self::CniPlugin => node_agent::plugin().err().map(|error| format!("{error:#}")),
            Self::Sidestep => sidestep::binary().err().map(|error| format!("{error:#}")),
            Self::MemoryController => memory_controller(),
            Self::MemoryCgroups => cgroup::memory().err().map(|error| format!("{error:#}")),
            Self::Mptcp => mptcp(),
            Self::KernelTls => kernel_tls(),
            Self::Iptables(backend) => iptables::missing(backend),
            Self::EarlierBuild(commit) => earlier::binary(commit).err().map(|error| format!("{error:#}")),
            Self::IstioIptables => istio_iptables::binary().err().map(|error| format!("{error:#}")),
            Self::Kernel(_) | Self::Acceleration | Self::Observation => match self.lacks() {
                Ok(lacks) => lacks.into_iter().next().map(|lack| lack.why),
                Err(error) => Some(format!("{error:#}")),
            },
            Self::Linux(major, minor, what) => match kernel::release() {
                Ok(release) => {
                    (release < (major, minor)).then(|| format!("before Linux {major}.{minor}: {what}"))
                }
                Err(error) => Some(format!("{error:#}")),
            },
            Self::Containerd(major, what) => match process::containerd() {
                Ok((release, text)) => (release < major).then(|| format!("containerd {text}: {what}")),
                Err(error) => Some(format!("{error:#}")),
            },
            Self::Program(program, package) => {
                (!process::on_path(program)).then(|| format!("no {program}: `apt-get install {package}`"))
            }
        }
    }
}

fn memory_controller() -> Option<String> {
    let controllers =
        cgroup::mount().and_then(|root| Ok(std::fs::read_to_string(root.join("cgroup.controllers"))?));
    match controllers {
        Err(error) => Some(format!("{error:#}")),
        Ok(names) if names.split_whitespace().any(|name| name == "memory") => None,
        Ok(names) => Some(format!("cgroup2 has no memory controller, only {names:?}")),
    }
}

fn mptcp() -> Option<String> {
    let file = "/proc/sys/net/mptcp/enabled";
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim() == "1" => None,
        _ => Some(format!("no MPTCP: {file} is not 1 (CONFIG_MPTCP, or switched off)")),
    }
}

/// An established socket is asked: the kernel loads the module by itself.
fn kernel_tls() -> Option<String> {
    let asked = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
        let socket = TcpStream::connect(listener.local_addr()?)?;
        Ok(setsockopt(&socket, sockopt::TcpUlp::default(), b"tls")?)
    });
    asked.err().map(|error| format!("TCP_ULP \"tls\": {error} (CONFIG_TLS, the module tls)"))
}

/// For the closing line of xtask: libtest counts a test that returns as passed.
fn note(name: &str, why: &str) {
    let Some(path) = std::env::var_os("SIDESTEP_SKIPS") else { return };
    let line = format!("{name}: {}\n", why.replace('\n', " "));
    let file = std::fs::OpenOptions::new().append(true).open(path);
    // The test has said it already.
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}

/// True when the calling test can run. Otherwise prints `SKIPPED`, or panics where skipping is not allowed.
pub fn met(requirements: &[Requirement]) -> bool {
    for requirement in requirements {
        let Some(why) = requirement.missing() else { continue };
        let name = requirement.name();
        let allowed = std::env::var("SIDESTEP_MAY_SKIP").unwrap_or_default();
        let may_skip = allowed.split(',').any(|entry| entry == name) || requirement.is_not_of_this_release();
        assert!(std::env::var_os("SIDESTEP_STRICT").is_none() || may_skip, "cannot run ({name}): {why}");
        eprintln!("SKIPPED ({name}): {why}");
        note(&name, &why);
        return false;
    }
    true
}
