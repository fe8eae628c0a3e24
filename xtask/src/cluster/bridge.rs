//! The cable between the nodes: a bridge in namespaces of its own, which are the world outside the cluster as well. In a
//! node's namespace br_netfilter (on there, and needed) would send each packet through kube-proxy's rules twice.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{
    network::{self, Network, OUTSIDE},
    node::Machine,
};
use crate::step;

/// `ip` in the network namespace of a process, without its mounts.
fn ip(pid: i32, arguments: &str) -> Result<()> {
    let mut command = step::command("nsenter");
    command.args(["-t", &pid.to_string(), "-n", "--", "ip"]).args(arguments.split(' '));
    run(&mut command).with_context(|| format!("ip {arguments}"))
}

fn sysctl(pid: i32, setting: &str) -> Result<()> {
    let mut command = step::command("nsenter");
    // /proc/sys/net shows the namespace of who reads it.
    command.args(["-t", &pid.to_string(), "-n", "--", "sh", "-c"]);
    let (key, value) = setting.split_once('=').context("a setting without a value")?;
    command.arg(format!("f=/proc/sys/{key}; [ ! -e $f ] || echo {value} > $f"));
    run(&mut command).with_context(|| format!("set {setting}"))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("run nsenter")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The bridge, with the outside's addresses on it.
pub(crate) fn make(outside: &Machine, network: Network, nodes: u8) -> Result<()> {
    let pid = outside.pid;
    ip(pid, "link set lo up")?;
    ip(pid, "link add br0 type bridge")?;
    for setting in ["bridge-nf-call-iptables=0", "bridge-nf-call-ip6tables=0"] {
        sysctl(pid, &format!("net/bridge/{setting}"))?;
    }
    sysctl(pid, "net/ipv6/conf/br0/accept_dad=0")?;
    ip(pid, "link set br0 up")?;
    for address in network.outside() {
        ip(pid, &format!("addr add {} dev br0", network::on_link(&address)))?;
    }
    for node in 1..=nodes {
        routes_to(pid, network, node)?;
    }
    Ok(())
}

/// Pods have their own addresses towards the outside: nothing is masqueraded.
fn routes_to(pid: i32, network: Network, node: u8) -> Result<()> {
    for (pods, via) in network.pods(node).iter().zip(network.node(node)) {
        ip(pid, &format!("route add {pods} via {via}"))?;
    }
    Ok(())
}

/// Plugs a node in.
pub(crate) fn plug(outside: &Machine, node: &Machine, network: Network, number: u8, nodes: u8) -> Result<()> {
    let (hub, pid) = (outside.pid, node.pid);
    ip(hub, &format!("link add w{number} type veth peer name node0 netns {pid}"))?;
    ip(hub, &format!("link set w{number} master br0"))?;
    ip(hub, &format!("link set w{number} up"))?;
    ip(pid, "link set lo up")?;
    // Without it answers of a service's pod to a pod of the same node bypass kube-proxy's rules. Loading it twice is fine.
    let _ = step::ask("modprobe", &["br_netfilter"]);
    for setting in ["bridge-nf-call-iptables=1", "bridge-nf-call-ip6tables=1"] {
        sysctl(pid, &format!("net/bridge/{setting}"))?;
    }
    sysctl(pid, "net/ipv4/ip_forward=1")?;
    sysctl(pid, "net/ipv6/conf/node0/accept_dad=0")?;
    sysctl(pid, "net/ipv6/conf/all/forwarding=1")?;
    for address in network.node(number) {
        ip(pid, &format!("addr add {} dev node0", network::on_link(&address)))?;
    }
    ip(pid, "link set node0 up")?;
    ip(pid, &format!("route add default via {}", OUTSIDE[0]))?;
    if network.dual_stack {
        ip(pid, &format!("route add default via {}", OUTSIDE[1]))?;
    }
    (1..=nodes).filter(|other| *other != number).try_for_each(|other| routes_to(pid, network, other))
}
