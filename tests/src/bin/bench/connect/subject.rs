//! A pod that connects, and what it has to decide for each connect.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ::tests::agent;
use ::tests::iptables::{self, Backend};
use ::tests::network::Network;
use ::tests::process::Process;
use ::tests::report::ConnectTimes;
use ::tests::server::{APP_USER, PROXY_USER};
use ::tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use anyhow::{Context, Result};
use serde::Serialize;

use super::cidrs;

const PORT: u16 = 9000;
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decider {
    Nothing,
    /// Redirection only.
    Sidestep,
    /// As `sidestep attach` does without being told.
    SidestepAccelerated,
    IptablesLegacy,
    IptablesNft,
}

impl Decider {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Sidestep => "sidestep (--accelerate off)",
            Self::SidestepAccelerated => "sidestep",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
        }
    }
}

/// Which way past the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// The sidecar itself (uid 1337) to 127.0.0.1.
    Sidecar,
    /// The application to a server outside that the last of so many exclude CIDRs names.
    Excluded(usize),
}

/// A pod with a connecting process.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) decider: Decider,
    pub(crate) way: Way,
    process: Process,
    _attached: Option<Sidestep>,
    _network: Network,
    /// Medians of its turns, in nanoseconds.
    pub(crate) turns: Vec<u64>,
}

impl Subject {
    pub(crate) fn start(decider: Decider, way: Way) -> Result<Self> {
        let network = Network::new("connect")?;
        let outside = network.outside4(PORT);
        let count = if let Way::Excluded(count) = way { count } else { 1 };
        let list = cidrs::list(count, network.addresses.outside4);
        let flags = flags(&list);
        let attached = match decider {
            Decider::Nothing => None,
            Decider::Sidestep => {
                let flags: Vec<&str> = flags.iter().copied().chain(["--accelerate", "off"]).collect();
                Some(Sidestep::attach(&network.pod, &flags)?)
            }
            Decider::SidestepAccelerated => Some(Sidestep::attach(&network.pod, &flags)?),
            Decider::IptablesLegacy | Decider::IptablesNft => {
                let backend = if decider == Decider::IptablesNft { Backend::Nft } else { Backend::Legacy };
                iptables::apply(&network.pod, &iptables::rules_for(&flags)?, backend)?;
                None
            }
        };
        let (to, user) = match way {
            Way::Sidecar => (SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), PROXY_USER),
            Way::Excluded(_) => (outside, APP_USER),
        };
        let mut command = network.pod.command(agent::path()?).arg("connect-loop").args([
            "--to",
            &to.to_string(),
            "--user",
            &format!("{}:{}", user.0, user.1),
        ]);
        if matches!(way, Way::Excluded(_)) {
            command = command.arg("--listen-in").arg(network.outside.netns());
        }
        let process = command.hold_input().spawn()?;
        process.wait_for("ready")?;
        Ok(Self { decider, way, process, _attached: attached, _network: network, turns: Vec::new() })
    }

    /// One turn of `count` connects.
    pub(crate) fn turn(&mut self, count: usize) -> Result<()> {
        let before = self.turns.len();
        self.process.say(&count.to_string())?;
        let found = self.process.output().wait(ANSWER_WITHIN, |text| {
            let answers = text.lines().filter(|line| line.starts_with('{'));
            answers.filter_map(|line| serde_json::from_str::<ConnectTimes>(line).ok()).nth(before)
        });
        let times = found.with_context(|| {
            format!("{} {:?}: no times: {}", self.decider.name(), self.way, self.process.stderr().trim())
        })?;
        self.turns.push(times.median_ns);
        Ok(())
    }
}

/// istio-init's flags with these exclude CIDRs.
fn flags(list: &str) -> Vec<&str> {
    let mut flags = DEFAULT_FLAGS.to_vec();
    if let Some(at) = flags.iter().position(|flag| *flag == "-x") {
        flags[at + 1] = list;
    }
    flags
}
