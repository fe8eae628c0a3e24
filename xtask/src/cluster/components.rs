//! Starting Kubernetes, in the order in which it becomes ready.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    images,
    network::{self, Network},
    node::Machine,
    record::Node,
};

/// A node that is being started.
pub(crate) struct Starting<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) node: &'a Node,
    pub(crate) home: &'a Path,
    pub(crate) bin: &'a Path,
    pub(crate) network: Network,
    pub(crate) number: u8,
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Starting<'_> {
    fn run(&mut self, name: &str, command: Vec<String>) -> Result<()> {
        self.machine.run(name, self.bin, command)
    }

    /// containerd with the images; a pod that finds none would wait for its next try.
    pub(crate) fn containerd(&mut self) -> Result<()> {
        let config = self.machine.dir.join("containerd.toml");
        self.run("containerd", vec!["containerd".to_owned(), "-c".to_owned(), config.display().to_string()])?;
        let node = self.node;
        self.machine.until("containerd answers", 180, || quiet(&mut node.command(&["ctr", "version"])))
    }

    pub(crate) fn etcd(&mut self) -> Result<()> {
        let dir = self.home.join("etcd");
        self.run("etcd", vec!["cluster".to_owned(), "etcd".to_owned(), dir.display().to_string()])?;
        let log = self.machine.dir.join("log/etcd");
        self.machine
            .until("etcd is ready", 180, || fs::read_to_string(&log).is_ok_and(|text| text.contains("ready")))
    }

    pub(crate) fn api_server(&mut self) -> Result<()> {
        let pki = self.home.join("pki");
        let (pki, address) = (pki.display(), network::address(1));
        let services = self.network.services().join(",");
        self.run(
            "apiserver",
            words(&format!(
                "cluster kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 \
                 --advertise-address={address} --service-cluster-ip-range={services} \
                 --service-account-issuer=https://kubernetes.default.svc.cluster.local \
                 --service-account-key-file={pki}/sa.pub --service-account-signing-key-file={pki}/sa.key \
                 --tls-cert-file={pki}/api.crt --tls-private-key-file={pki}/api.key --client-ca-file={pki}/ca.crt \
                 --cert-dir={pki} --token-auth-file={pki}/tokens.csv --authorization-mode=Node,RBAC \
                 --allow-privileged=true --kubelet-preferred-address-types=InternalIP"
            )),
        )?;
        let node = self.node;
        self.machine
            .until("the API server is ready", 400, || quiet(&mut node.kubectl(&["get", "--raw", "/readyz"])))
    }

    pub(crate) fn controllers(&mut self) -> Result<()> {
        let (pki, config) = (self.home.join("pki"), self.home.join("admin.conf"));
        let (pki, config) = (pki.display(), config.display());
        self.run(
            "kcm",
            words(&format!(
                "cluster kube-controller-manager --kubeconfig={config} \
                 --service-account-private-key-file={pki}/sa.key --root-ca-file={pki}/ca.crt \
                 --cluster-signing-cert-file={pki}/ca.crt --cluster-signing-key-file={pki}/ca.key \
                 --leader-elect=false --allocate-node-cidrs=false"
            )),
        )?;
        self.run(
            "scheduler",
            words(&format!("cluster kube-scheduler --kubeconfig={config} --leader-elect=false")),
        )
    }

    pub(crate) fn kubelet(&mut self) -> Result<()> {
        let (dir, config) = (self.machine.dir.clone(), self.home.join("admin.conf"));
        let (dir, config, name) = (dir.display(), config.display(), &self.node.name);
        let addresses = self.network.node(self.number).join(",");
        let kubelet = format!(
            "cluster kubelet --config={dir}/kubelet.yaml --kubeconfig={config} --hostname-override={name} \
             --node-ip={addresses} --root-dir={dir}/kubelet"
        );
        let proxy = format!("cluster kube-proxy --config={dir}/proxy.yaml --hostname-override={name}");
        self.run("kubelet", words(&kubelet))?;
        self.run("proxy", words(&proxy))
    }

    /// Before kubelet: the first pod is not to wait for it. It installs its plugin where containerd says, and containerd
    /// has loaded it when it is ready.
    pub(crate) fn agent(&mut self, binary: &Path, flags: &str, dual_stack: bool) -> Result<()> {
        let six = if dual_stack { "--proxy-env ISTIO_DUAL_STACK=true" } else { "" };
        let cgroup = &self.node.cgroup;
        let command = format!("{} run --install-cni --cgroup-root {cgroup} {six} {flags}", binary.display());
        self.run("sidestep", words(&command))?;
        let node = self.node;
        self.machine.until("the agent is ready", 60, || {
            quiet(&mut node.command(&["test", "-e", "/run/sidestep/ready"]))
        })
    }
}

/// Has the images in a node's containerd, and one more.
pub(crate) fn import(node: &Node, bin: &Path, own: Option<&Path>) -> Result<()> {
    let images = images::NAMES.map(|name| bin.join("images").join(format!("{name}.tar")));
    for archive in images.iter().map(PathBuf::as_path).chain(own) {
        let archive = archive.to_string_lossy();
        let mut import = node.command(&["ctr", "-n", "k8s.io", "images", "import", &archive]);
        let output = import.stdin(Stdio::null()).output().context("run ctr")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "import {archive}: {}", said.trim());
    }
    Ok(())
}

/// Waits for nodes and DNS.
pub(crate) fn ready(machine: &Machine, nodes: &[Node]) -> Result<()> {
    let first = nodes.first().context("a cluster has a node")?;
    for node in nodes {
        let resource = format!("node/{}", node.name);
        let mut wait =
            || quiet(&mut first.kubectl(&["wait", "--for=condition=Ready", &resource, "--timeout=2s"]));
        machine.until(&format!("{} is Ready", node.name), 300, &mut wait)?;
    }
    machine.until("DNS answers", 300, || {
        quiet(&mut first.kubectl(&[
            "-n",
            "kube-system",
            "wait",
            "--for=condition=Ready",
            "pod/coredns",
            "--timeout=2s",
        ]))
    })?;
    // Through the service's address, as pods ask it: kube-proxy is ready as well.
    machine.until("DNS answers by its service", 180, || {
        let name = "kubernetes.default.svc.cluster.local";
        quiet(&mut first.command(&["app", "resolve", name]))
    })
}
