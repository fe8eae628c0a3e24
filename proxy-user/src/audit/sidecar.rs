//! Which processes are the sidecar, and which only run as its user.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use proxy_plane::netns::{Netns, processes};

use super::{audited_pod::AuditedPod, process::Process, reserved, server::Server};

/// The processes of the namespace that have the proxy's uid or gid.
#[derive(Debug, Default)]
pub(super) struct ProxyProcesses {
    sidecar: BTreeSet<i32>,
    pub(super) others: Vec<Process>,
}

impl ProxyProcesses {
    pub(super) fn find(pod: &AuditedPod, netns: &Netns, servers: &[Server]) -> Result<Self> {
        let proxies = processes(Some(netns))?
            .filter_map(Process::read)
            .filter(|process| pod.is_proxy(process.uid, process.gid));
        Ok(Self::sort(pod, proxies.map(|process| (process.pid, process)).collect(), servers))
    }

    /// The sidecar is who holds one of its ports, with the processes it was started by and those it starts: the agent
    /// and its Envoy.
    pub(super) fn sort(pod: &AuditedPod, proxies: BTreeMap<i32, Process>, servers: &[Server]) -> Self {
        let ports = &pod.config.ports;
        let core = [ports.outbound, ports.inbound, ports.dns];
        let holders = |wanted: &dyn Fn(&Server) -> bool| -> BTreeSet<i32> {
            let held = servers.iter().filter(|server| wanted(server)).flat_map(|server| &server.processes);
            held.map(|process| process.pid).filter(|pid| proxies.contains_key(pid)).collect()
        };
        let mut sidecar = holders(&|server| core.contains(&server.port));
        if sidecar.is_empty() {
            sidecar = holders(&|server| reserved::purpose(ports, server.protocol, server.port).is_some());
        }
        let parents: Vec<i32> = sidecar.iter().copied().collect();
        for pid in parents {
            let mut at = pid;
            while let Some(parent) = proxies.get(&at).and_then(|process| proxies.get(&process.parent)) {
                if !sidecar.insert(parent.pid) {
                    break;
                }
                at = parent.pid;
            }
        }
        while let Some(child) = proxies
            .values()
            .find(|process| sidecar.contains(&process.parent) && !sidecar.contains(&process.pid))
        {
            sidecar.insert(child.pid);
        }
        let others = proxies.into_values().filter(|process| !sidecar.contains(&process.pid)).collect();
        Self { sidecar, others }
    }

    /// Whether it is the sidecar's: by its processes, or where none is visible by the owner of its sockets.
    pub(super) fn owns(&self, pod: &AuditedPod, server: &Server) -> bool {
        if server.processes.is_empty() {
            let reserved = reserved::purpose(&pod.config.ports, server.protocol, server.port).is_some();
            return reserved && pod.config.proxy_uids.contains(&server.uid);
        }
        server.processes.iter().any(|process| self.sidecar.contains(&process.pid))
    }
}
