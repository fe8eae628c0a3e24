//! A pod with three interfaces, everybody who listens in it, the outside, and one of the two data planes.

use anyhow::{Context, Result, ensure};
use tests::answerer::Answerer;
use tests::iptables::{self, Backend};
use tests::istio_iptables;
use tests::network::Network;
use tests::pod::Pod;
use tests::process::Process;
use tests::server::APP_USER;
use tests::sidestep::{Sidestep, binary};
use tests::veth::{End, connect};

use crate::rule_set::RuleSet;

/// Where the application, and everybody outside, listens.
pub(crate) const APP_PORTS: [u16; 12] =
    [22, 53, 80, 3333, 8080, 9090, 15002, 15008, 15020, 15021, 15053, 15090];
const SIDECAR_PORTS: [u16; 2] = [15001, 15006];
const AGENT_PORTS: [u16; 1] = [15053];

/// The pod's second and third interface, and an address on lo that is reached over the second. In the outside, what is
/// answered for behind each.
const MORE_POD_LINES: &str = "\
addr add 10.40.0.26/32 dev lo
addr add fd00:40::26/128 dev lo nodad
route add 10.77.0.0/16 via 10.20.0.9
route add fd00:77::/64 via fd00:20::9
route add 10.88.0.0/16 via 10.30.0.9
route add fd00:88::/64 via fd00:30::9
route add unreachable 10.99.0.0/16
route add unreachable ::ffff:0:0/96
";
const MORE_OUTSIDE_LINES: &str = "\
route add 10.40.0.26/32 via 10.20.0.26
route add fd00:40::26/128 via fd00:20::26
";
const ANSWERED: [&str; 6] =
    ["10.77.0.0/16", "fd00:77::/64", "10.88.0.0/16", "fd00:88::/64", "1.1.0.0/16", "2001:db8::/32"];

pub(crate) struct Testbed {
    network: Network,
    _attached: Option<Sidestep>,
    _processes: Vec<Process>,
}

impl Testbed {
    pub(crate) fn under_iptables(set: &RuleSet) -> Result<Self> {
        let network = network("iptables")?;
        if istio_iptables::binary().is_ok() {
            apply_istios(&network.pod, set)?;
            return Self::with(network, None, set);
        }
        iptables::apply(&network.pod, &rendered(set)?, Backend::Nft)?;
        if set.tproxy {
            // What istio-init does next to the rules (tools/common/tproxy/run_linux.go).
            for family in ["-4", "-6"] {
                let all = if family == "-4" { "0.0.0.0/0" } else { "::/0" };
                let ip = |line: &str| network.pod.command("ip").arg(family).args(line.split(' ')).run();
                ip("rule add fwmark 1337 lookup 133")?;
                ip(&format!("route add local {all} dev lo table 133"))?;
            }
        }
        Self::with(network, None, set)
    }

    pub(crate) fn under_sidestep(set: &RuleSet) -> Result<Self> {
        let network = network("sidestep")?;
        let attached = Sidestep::attach_with(&network.pod, &set.arguments(), &set.variables())?;
        Self::with(network, Some(attached), set)
    }

    fn with(network: Network, attached: Option<Sidestep>, set: &RuleSet) -> Result<Self> {
        let sidecar = if set.tproxy { (0, set.proxy.1) } else { set.proxy };
        // The agent has its port on lo, so the application cannot have it everywhere.
        let ports: Vec<u16> = APP_PORTS.iter().copied().filter(|port| !AGENT_PORTS.contains(port)).collect();
        let app = Answerer {
            pod: &network.pod,
            name: "app",
            ports: &ports,
            user: APP_USER,
            transparent: false,
            loopback: false,
        };
        let processes = vec![
            Answerer { name: "ext", pod: &network.outside, ports: &all_ports(), ..app.clone() }.start()?,
            app.start()?,
            Answerer {
                name: "sidecar",
                ports: &SIDECAR_PORTS,
                user: sidecar,
                transparent: set.tproxy,
                ..app.clone()
            }
            .start()?,
            Answerer { name: "agent", ports: &AGENT_PORTS, user: sidecar, loopback: true, ..app }.start()?,
        ];
        Ok(Self { network, _attached: attached, _processes: processes })
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.network.pod
    }

    pub(crate) fn outside(&self) -> &Pod {
        &self.network.outside
    }
}

fn all_ports() -> Vec<u16> {
    APP_PORTS.iter().chain(&SIDECAR_PORTS).copied().collect()
}

fn network(name: &str) -> Result<Network> {
    let network = Network::new(name)?;
    for (number, third) in [(1, 20), (2, 30)] {
        let [inside, outside] = [format!("eth{number}"), format!("veth{number}")];
        let addresses = |host: u8| [format!("10.{third}.0.{host}/24"), format!("fd00:{third}::{host}/64")];
        connect(
            End { pod: &network.pod, name: &inside, addresses: &addresses(26) },
            End { pod: &network.outside, name: &outside, addresses: &addresses(9) },
        )?;
    }
    network.pod.ip(MORE_POD_LINES)?;
    network.outside.ip(MORE_OUTSIDE_LINES)?;
    for prefix in ANSWERED {
        network.answer_for(prefix)?;
    }
    // A UDP server outside answers from the address it was asked at, which is its own by that route only.
    network.outside.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
    Ok(network)
}

/// What istio-init runs, for real: rules, routes and all.
fn apply_istios(pod: &Pod, set: &RuleSet) -> Result<()> {
    let etc = pod.scratch().join("etc");
    std::fs::create_dir(&etc).with_context(|| format!("make {}", etc.display()))?;
    let servers = set.servers().map(|server| format!("nameserver {server}\n"));
    std::fs::write(etc.join("resolv.conf"), servers.collect::<String>()).context("write resolv.conf")?;
    let flags = set.arguments().into_iter().filter(|arg| !arg.starts_with("--dns-server="));
    let mut command = pod.command(istio_iptables::binary()?).args(flags).etc(etc);
    for (name, value) in set.variables() {
        command = command.env(name, value);
    }
    command.run().map(drop)
}

/// `sidestep rules` for these settings: the text the oracle's rule sets prove equal to Istio's.
fn rendered(set: &RuleSet) -> Result<String> {
    let output = std::process::Command::new(binary()?)
        .arg("rules")
        .args(set.arguments())
        .envs(set.variables())
        .output()
        .context("run sidestep rules")?;
    ensure!(output.status.success(), "sidestep rules: {}", String::from_utf8_lossy(&output.stderr).trim());
    String::from_utf8(output.stdout).context("sidestep rules printed no UTF-8")
}
