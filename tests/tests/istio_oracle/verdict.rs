//! One setting: what is compared, and what came of it.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::Result;
use tests::istio_iptables::restored;
use tests::random::Random;
use tests::settings::host::{GROUPS, USERS};
use tests::settings::{Kind, Settings};
use tests::sidestep::Ended;

use crate::decisions::{self, Compared};
use crate::known::Difference;
use crate::oracle_host::OracleHost;

/// What both did, or how they differ.
pub(crate) enum Outcome {
    BothRefuse,
    BothTake(Compared),
    /// The difference, and both outputs.
    Differ(Difference, String),
}

/// A failure of the lab is an error, no difference.
pub(crate) fn compare(settings: &Settings, seed: u64, number: u64) -> Result<Outcome> {
    let host = OracleHost::new(settings)?;
    let line = settings.command_line();
    // First, for the real one changes the host.
    let ours = host.sidestep(&line)?;
    let network = decisions::HostNetwork::prepare(host.pod(), settings)?;
    let real = host.istio(&line)?;
    match (real.code == Some(0), ours.code == Some(0)) {
        (false, false) => return Ok(Outcome::BothRefuse),
        (true, false) => return Ok(Outcome::Differ(Difference::OursRefuses, outputs(&real, &ours))),
        (false, true) => return Ok(Outcome::Differ(Difference::OursTakes, outputs(&real, &ours))),
        (true, true) => {}
    }
    if settings.odd.is_some_and(|odd| odd.kind == Kind::NothingDone) {
        return Ok(Outcome::BothTake(Compared::new()));
    }
    let texts = restored(&real.stdout);
    let expected = plain(&texts.concat());
    if expected != plain(&ours.stdout) {
        return Ok(Outcome::Differ(Difference::Rules, outputs(&real, &ours)));
    }
    let config = decisions::config(settings);
    if let Some(other) = differing_rules(settings, &host, &config, &expected, !texts[1].is_empty())? {
        return Ok(Outcome::Differ(Difference::Rules, outputs(&real, &other)));
    }
    let random = &mut Random::of(seed, !number);
    let saved = host.saved()?;
    Ok(match decisions::compare(settings, &config, network, &saved, random)? {
        Ok(compared) => Outcome::BothTake(compared),
        Err(report) => Outcome::Differ(Difference::Decision, format!("{report}\n{}", saved.concat())),
    })
}

/// `sidestep rules` knows neither the host's names nor its addresses: where neither matters, it prints the same.
fn differing_rules(
    settings: &Settings,
    host: &OracleHost,
    config: &proxy_core::config::Config,
    expected: &str,
    ipv6: bool,
) -> Result<Option<Ended>> {
    if ipv6 != config.dual_stack || decisions::names_somebody(settings) {
        return Ok(None);
    }
    let servers = decisions::servers(config);
    // Words that are no flags are for istio-iptables alone to ignore.
    let mut flags = settings.clone();
    flags.words.retain(|word| word.starts_with('-'));
    let rules = host.rules(&flags.command_line(), &servers)?;
    Ok((rules.code != Some(0) || plain(&rules.stdout) != expected).then_some(rules))
}

/// What iptables-restore makes of it: how many spaces are between words does not count, an account is its number, an
/// address its bits. Go spells some IPv6 addresses differently, and keeps a zone that a range cannot have.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let meant = match words.last().map(String::as_str) {
                Some("--uid-owner") => number(&USERS, word),
                Some("--gid-owner") => number(&GROUPS, word),
                Some("-s" | "-d") => range(word),
                _ => None,
            };
            words.push(meant.unwrap_or_else(|| word.to_owned()));
        }
        let line = words.join(" ");
        let _ =
            writeln!(plain, "{}", line.strip_prefix("* ").map_or(line.clone(), |table| format!("*{table}")));
    }
    plain
}

fn number(accounts: &[(&str, u32)], name: &str) -> Option<String> {
    accounts.iter().find(|(known, _)| *known == name).map(|(_, number)| number.to_string())
}

fn range(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/')?;
    let address = address.split_once('%').map_or(address, |(address, _)| address);
    Some(format!("{}/{length}", address.parse::<IpAddr>().ok()?))
}

fn outputs(real: &Ended, ours: &Ended) -> String {
    let mut text = String::new();
    for (who, ended) in [("istio-iptables", real), ("sidestep", ours)] {
        let _ = writeln!(text, "--- {who}: exit {:?}", ended.code);
        let [v4, v6] = restored(&ended.stdout);
        // Of a log the rules, and what is no rule only if there are none.
        let rules = v4 + &v6;
        let said = if rules.is_empty() { &ended.stdout } else { &rules };
        let errors = ended.stdout.lines().filter(|line| line.contains("\terror\t"));
        let errors = errors.chain(ended.stderr.lines()).collect::<Vec<_>>().join("\n");
        let _ = writeln!(text, "{}\n{}", tail(said), tail(&errors));
    }
    text
}

/// The end of it, where programs say why they end.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}
