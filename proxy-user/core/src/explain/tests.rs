//! Answers on flags alone, without a kernel.

mod chains;
mod destinations;
mod oracle;

use std::net::IpAddr;

use super::{Answer, Pod, Question, explain};
use crate::config::{Environment, Given, NoHost};

fn pod(flags: &[&str], pod_ips: &[&str], env: Environment) -> Pod {
    let config = Given::from_words(flags).expect("flags").resolve(&env, &NoHost).expect("flags").config;
    let pod_ips: Vec<IpAddr> = pod_ips.iter().map(|ip| ip.parse().expect("address")).collect();
    Pod::of_flags(config, &pod_ips, None)
}

/// Asks with the words of the command line.
fn ask(pod: &Pod, from: &str, to: &str) -> Answer {
    let inbound = from.starts_with('@');
    let question = Question {
        caller: from.parse().expect(from),
        to: to.parse().expect(to),
        inbound,
        interface: None,
        mark: 0,
    };
    explain(pod, &question).expect(to)
}
