//! Which flows are wanted.

use std::{fmt, str::FromStr};

use proxy_common::{
    flow::{Close, Direction, Forward},
    verdict::{Rule, Target},
};

use super::flow::{Flow, Named, Path};

/// All given conditions hold; of one with several values, any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Names as `sidestep status` prints them.
    pub workloads: Vec<String>,
    /// Port of the client, the server, the original destination or the listener.
    pub ports: Vec<u16>,
    pub directions: Vec<Direction>,
    pub forwards: Vec<Forward>,
    pub paths: Vec<Path>,
    pub verdicts: Vec<Verdict>,
    /// Of the process at either end.
    pub pids: Vec<u32>,
    /// Began or closed since then; microseconds since the Unix epoch.
    pub since: Option<u64>,
}

/// What became of a connection: its target, a rule's name, or the fact that it was captured or refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Captured,
    Refused,
    Target(Target),
    Rule(Rule),
}

impl Filter {
    pub fn matches(&self, flow: &Flow) -> bool {
        any(&self.workloads, |name| **name == *flow.workload)
            && any(&self.ports, |port| has_port(flow, *port))
            && any(&self.directions, |direction| *direction == flow.direction)
            && any(&self.forwards, |forward| Some(*forward) == flow.forward)
            && any(&self.paths, |path| *path == flow.path)
            && any(&self.verdicts, |verdict| verdict.is_of(flow))
            && any(&self.pids, |pid| has_pid(flow, *pid))
            && self.since.is_none_or(|since| flow.times.syn.max(flow.times.close) >= Some(since))
    }
}

fn any<T>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(is)
}

fn has_port(flow: &Flow, port: u16) -> bool {
    [flow.client.port(), flow.server.port(), flow.original_destination.port()].contains(&port)
        || flow.listener == Some(port)
}

fn has_pid(flow: &Flow, pid: u32) -> bool {
    [&flow.client_process, &flow.server_process].into_iter().flatten().any(|process| process.pid == pid)
}

impl Verdict {
    fn is_of(self, flow: &Flow) -> bool {
        match self {
            Self::Captured => flow.verdict != Target::Bypass,
            Self::Refused => flow.close == Some(Close::Refused),
            Self::Target(target) => flow.verdict == target,
            Self::Rule(rule) => flow.rule == Some(rule),
        }
    }
}

/// As it is parsed.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Captured => "captured",
            Self::Refused => "refused",
            Self::Target(target) => target.label(),
            Self::Rule(rule) => rule.label(),
        })
    }
}

impl FromStr for Verdict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "captured" => return Ok(Self::Captured),
            "refused" => return Ok(Self::Refused),
            _ => {}
        }
        let target = one_of::<Target>(text).map(Self::Target);
        target.or_else(|_| one_of::<Rule>(text).map(Self::Rule)).map_err(|_| {
            let rules: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
            format!(
                "unknown verdict '{text}': use captured, refused, bypass, outbound, inbound, dns, or a rule: {}",
                rules.join(", ")
            )
        })
    }
}

/// The value with this label; the error lists those there are.
pub fn one_of<T: Named>(text: &str) -> Result<T, String> {
    T::all().iter().copied().find(|value| value.label() == text).ok_or_else(|| {
        let all: Vec<&str> = T::all().iter().map(|value| value.label()).collect();
        format!("unknown value '{text}': use {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_are_told_the_valid_ones() {
        assert_eq!(one_of::<Direction>("self"), Ok(Direction::SelfCall));
        let error = one_of::<Forward>("eth1").unwrap_err();
        assert!(error.contains("'eth1'") && error.contains("lo, eth0, tproxy"), "{error}");
        assert_eq!("O15'".parse(), Ok(Verdict::Rule(Rule::O15Range)));
        assert_eq!("bypass".parse(), Ok(Verdict::Target(Target::Bypass)));
        assert!("O99".parse::<Verdict>().unwrap_err().contains("O16"));
    }
}
