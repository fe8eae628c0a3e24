//! Configuration of a node's components.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    cgroup,
    init::{CNI_BIN_DIR, CNI_CONF_DIR},
    network::{self, Network},
    node::Machine,
    record::write,
    up::{Args, Plugin},
};
use crate::workspace::Workspace;

/// Has the plugin capture IPv6, as ISTIO_DUAL_STACK has istio-init.
const DUAL_STACK: &str = "--dual-stack";

/// Where libcni looks for more of the list's plugins: in the order of their names, the agent's is 99-sidestep-cni.conf.
const DROP_INS: &str = "cni/lab";
const BEHIND_ALL: &str = "cni/lab/99-z-lab-cni.conf";

/// Manifests in there are pods without the API server.
const STATIC_PODS: &str = "manifests";

/// Directories that have to be there before the node's first process.
pub(crate) fn directories(dir: &Path, network: Network) -> Result<()> {
    for name in ["log", "cni", DROP_INS, "cni-bin", "containerd", "kubelet", STATIC_PODS] {
        fs::create_dir_all(dir.join(name)).with_context(|| format!("create {}", dir.join(name).display()))?;
    }
    let servers: String = network.dns().iter().map(|address| format!("nameserver {address}\n")).collect();
    write(&dir.join("resolv.conf"), &servers)
}

/// Who everyone is: the lab's clients are all the administrator.
pub(crate) fn kubeconfig(home: &Path) -> Result<()> {
    let text = format!(
        "apiVersion: v1\nkind: Config\n\
         clusters: [{{name: lab, cluster: {{server: \"https://{}:6443\", certificate-authority: {}/pki/ca.crt}}}}]\n\
         users: [{{name: admin, user: {{token: admin-token}}}}]\n\
         contexts: [{{name: lab, context: {{cluster: lab, user: admin}}}}]\ncurrent-context: lab\n",
        network::address(1),
        home.display()
    );
    write(&home.join("pki/tokens.csv"), "admin-token,admin,admin,\"system:masters\"\n")?;
    write(&home.join("admin.conf"), &text)
}

pub(crate) fn write_all(
    workspace: &Workspace,
    home: &Path,
    bin: &Path,
    machine: &Machine,
    network: Network,
    number: u8,
    args: &Args,
) -> Result<()> {
    let dir = &machine.dir;
    write(&dir.join("kubelet.yaml"), &kubelet(dir, &machine.cgroup, network))?;
    write(&dir.join("proxy.yaml"), &proxy(home, network))?;
    let own = (dir.join("cni"), dir.join("cni-bin"));
    let cni = match args.capture.plugin {
        Plugin::Daemonset => (CNI_CONF_DIR.into(), CNI_BIN_DIR.into()),
        _ => own,
    };
    write(&dir.join("containerd.toml"), &containerd(dir, bin, &cni))?;
    let mut plugins = vec![
        bridge(network, number),
        json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}),
    ];
    if args.capture.plugin != Plugin::None {
        plugins.push(marked("bridge"));
        let plugin = dir.join("cni-bin/stand-in");
        let source = workspace.root.join("tests/cluster/stand-in-cni.py");
        fs::copy(&source, &plugin).with_context(|| format!("copy {}", source.display()))?;
        plugins.push(stand_in(workspace, args)?);
        plugins.push(marked("stand-in"));
        let last = dir.join(BEHIND_ALL);
        write(&last, &serde_json::to_string(&behind_all()).context("write a CNI entry")?)?;
    }
    let list = json!({"cniVersion": "1.0.0", "name": "lab", "plugins": plugins});
    write(
        &dir.join("cni/10-lab.conflist"),
        &serde_json::to_string_pretty(&list).context("write the CNI list")?,
    )
}

fn bridge(network: Network, number: u8) -> Value {
    let ranges: Vec<Value> = network.pods(number).iter().map(|pods| json!([{"subnet": pods}])).collect();
    let routes: Vec<Value> = network.default_routes().iter().map(|all| json!({"dst": all})).collect();
    json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
        "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam", "ranges": ranges, "routes": routes},
    })
}

fn stand_in(workspace: &Workspace, args: &Args) -> Result<Value> {
    let sidestep = args.capture.binary(workspace)?;
    // Beside the agent it runs what a pod asks for by name alone: the real istio-iptables.
    let usual = if args.capture.plugin == Plugin::StandIn { "sidestep" } else { "none" };
    let mut flags: Vec<&str> = args.capture.attach_flags.split_whitespace().collect();
    if args.dual_stack && !flags.contains(&DUAL_STACK) {
        flags.push(DUAL_STACK);
    }
    Ok(json!({
        "type": "stand-in", "sidestep": sidestep, "flags": flags, "cgroups": cgroup::unified()?,
        "mode": usual,
        "capabilities": {"io.kubernetes.cri.pod-annotations": true, "cgroupPath": true},
    }))
}

/// Says when it is called at ADD; see tests/cluster/cmd/lab-cni.
fn marked(at: &str) -> Value {
    json!({"type": "lab-cni", "at": at})
}

/// The last plugin of the list does what others' plugins do.
fn behind_all() -> Value {
    json!({
        "cniVersion": "1.0.0", "type": "lab-cni", "at": "all", "acts": true,
        "capabilities": {"io.kubernetes.cri.pod-annotations": true},
    })
}

/// Images are never collected, however full the disk is (100 %): there is no registry they would come back from.
fn kubelet(dir: &Path, cgroup: &str, network: Network) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\nfailSwapOn: false\n\
         cgroupDriver: cgroupfs\ncgroupRoot: {cgroup}\n\
         containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n\
         clusterDNS: [{}]\nclusterDomain: cluster.local\nresolvConf: {}/resolv.conf\n\
         authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\n\
         authorization: {{mode: AlwaysAllow}}\nenforceNodeAllocatable: []\n\
         evictionHard: {{memory.available: \"1Mi\", nodefs.available: \"1%\", imagefs.available: \"1%\"}}\n\
         imageGCHighThresholdPercent: 100\nimageGCLowThresholdPercent: 99\n\
         makeIPTablesUtilChains: false\nmaxPods: 250\nstaticPodPath: {}\n",
        network.dns().iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", "),
        dir.display(),
        dir.join(STATIC_PODS).display()
    )
}

fn proxy(home: &Path, network: Network) -> String {
    let mut pods = network.pods(1);
    // The whole of IPv4 that pods of any node are in.
    pods[0] = "10.244.0.0/14".to_owned();
    if let Some(six) = pods.get_mut(1) {
        *six = "fd00:244::/32".to_owned();
    }
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n\
         clientConnection: {{kubeconfig: {}/admin.conf}}\nclusterCIDR: {}\n\
         conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}\n",
        home.display(),
        pods.join(",")
    )
}

/// `cni`: where the lists are, and the plugins besides ours.
fn containerd(dir: &Path, bin: &Path, cni: &(PathBuf, PathBuf)) -> String {
    let (dir, bin) = (dir.display(), bin.display());
    let (lists, plugins) = (cni.0.display(), cni.1.display());
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "lab/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dirs = ["{bin}", "{plugins}"]
    conf_dir = "{lists}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "{bin}/runc"
      SystemdCgroup = false
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelet_keeps_images_on_a_full_disk() {
        let text = kubelet(Path::new("/n"), "/c", Network { dual_stack: true });
        assert!(text.contains("\nimageGCHighThresholdPercent: 100\n"), "{text}");
        assert!(text.contains("\nclusterDNS: [\"10.96.0.10\", \"fd00:96::a\"]\n"), "{text}");
        assert!(text.contains("\nresolvConf: /n/resolv.conf\n"), "{text}");
        assert!(text.contains("\nstaticPodPath: /n/manifests\n"), "{text}");
    }
}
