//! Answers on flags alone, without a kernel.

mod chains;
mod destinations;
mod oracle;

use std::net::IpAddr;

use super::{Answer, Place, Question, explain};
use crate::config::{Environment, Given, NoHost};

fn place(flags: &[&str], pod_ips: &[&str], env: Environment) -> Place {
    let config = Given::from_words(flags).expect("flags").resolve(&env, &NoHost).expect("flags").config;
    let pod_ips: Vec<IpAddr> = pod_ips.iter().map(|ip| ip.parse().expect("address")).collect();
    Place::of_flags(config, &pod_ips, None)
}

/// Asks with the words of the command line.
fn ask(place: &Place, from: &str, to: &str) -> Answer {
    let inbound = from.starts_with('@');
    let question = Question {
        caller: from.parse().expect(from),
        to: to.parse().expect(to),
        inbound,
        interface: None,
        mark: 0,
    };
    explain(place, &question).expect(to)
}
