//! One setting: what is compared, and what came of it.

use std::fmt::Write as _;

use anyhow::Result;
use tests::istio_iptables::restored;
use tests::random::Random;
use tests::settings::host::{GROUPS, USERS};
use tests::settings::{Kind, Settings};
use tests::sidestep::Ended;

use crate::decisions::{self, Compared};
use crate::known::Difference;
use crate::place::Place;

/// What both did, or how they differ.
pub(crate) enum Outcome {
    BothRefuse,
    BothTake(Compared),
    /// The difference, and both outputs.
    Differ(Difference, String),
}

/// A failure of the lab is an error, no difference.
pub(crate) fn compare(settings: &Settings, seed: u64, number: u64) -> Result<Outcome> {
    let place = Place::new(settings)?;
    let line = settings.command_line();
    // First, for the real one changes the host.
    let ours = place.sidestep(&line)?;
    let before = decisions::interfaces(place.pod())?;
    let real = place.istio(&line)?;
    match (real.code == Some(0), ours.code == Some(0)) {
        (false, false) => return Ok(Outcome::BothRefuse),
        (true, false) => return Ok(Outcome::Differ(Difference::OursRefuses, outputs(&real, &ours))),
        (false, true) => return Ok(Outcome::Differ(Difference::OursTakes, outputs(&real, &ours))),
        (true, true) => {}
    }
    let texts = restored(&real.stdout);
    let expected = plain(&texts.concat());
    if expected != plain(&ours.stdout) {
        return Ok(Outcome::Differ(Difference::Rules, outputs(&real, &ours)));
    }
    if settings.odd.is_some_and(|odd| odd.kind == Kind::NothingDone) {
        return Ok(Outcome::BothTake(Compared::new()));
    }
    let config = decisions::config(settings);
    if let Some(other) = differing_rules(settings, &place, &config, &expected, !texts[1].is_empty())? {
        return Ok(Outcome::Differ(Difference::Rules, outputs(&real, &other)));
    }
    let random = &mut Random::of(seed, !number);
    let saved = place.saved()?;
    Ok(match decisions::compare(settings, &config, &before, &place, &saved, random)? {
        Ok(compared) => Outcome::BothTake(compared),
        Err(report) => Outcome::Differ(Difference::Decision, format!("{report}\n{}", saved.concat())),
    })
}

/// `sidestep rules` knows neither the host's names nor its addresses: where neither matters, it prints the same.
fn differing_rules(
    settings: &Settings,
    place: &Place,
    config: &proxy_user::config::Config,
    expected: &str,
    ipv6: bool,
) -> Result<Option<Ended>> {
    if ipv6 != config.dual_stack || decisions::names_somebody(settings) {
        return Ok(None);
    }
    let servers = decisions::servers(config);
    let rules = place.rules(&settings.command_line(), &servers)?;
    Ok((rules.code != Some(0) || plain(&rules.stdout) != expected).then_some(rules))
}

/// Without what iptables-restore does not look at: how many spaces there are between words. And with the number of an
/// account that Istio leaves to iptables to look up.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line = numbered(line.split_whitespace()).join(" ");
        let _ =
            writeln!(plain, "{}", line.strip_prefix("* ").map_or(line.clone(), |table| format!("*{table}")));
    }
    plain
}

fn numbered<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut numbered: Vec<String> = Vec::new();
    for word in words {
        let accounts: &[(&str, u32)] = match numbered.last().map(String::as_str) {
            Some("--uid-owner") => &USERS,
            Some("--gid-owner") => &GROUPS,
            _ => &[],
        };
        let number = accounts.iter().find(|(name, _)| *name == word).map(|(_, number)| number.to_string());
        numbered.push(number.unwrap_or_else(|| word.to_owned()));
    }
    numbered
}

fn outputs(real: &Ended, ours: &Ended) -> String {
    let mut text = String::new();
    for (who, ended) in [("istio-iptables", real), ("sidestep", ours)] {
        let _ = writeln!(text, "--- {who}: exit {:?}", ended.code);
        let [v4, v6] = restored(&ended.stdout);
        // Of a log the rules, and what is no rule only if there are none.
        let rules = v4 + &v6;
        let said = if rules.is_empty() { &ended.stdout } else { &rules };
        let _ = writeln!(text, "{}{}", tail(said), tail(&ended.stderr));
    }
    text
}

/// The end of it, where programs say why they end.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(120)..].join("\n")
}
