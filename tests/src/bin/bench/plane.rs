//! A mode put underneath the pods of a stage.

use std::path::PathBuf;

use ::tests::any_reader::UNKNOWN_SENDS;
use ::tests::iptables::{self, Backend};
use ::tests::network::Network;
use ::tests::pod::Pod;
use ::tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use anyhow::Result;

use crate::case::{Setup, Topology};
use crate::mode::Mode;
use crate::options::Options;
use crate::wrk;

/// A data plane in place; ends when dropped.
#[derive(Debug)]
pub(crate) enum Plane {
    None,
    /// The rules go with the pods.
    Iptables {
        backend: Backend,
        captured: Vec<Pod>,
    },
    Sidestep {
        #[expect(dead_code, reason = "guards: detach when dropped")]
        attached: Vec<Sidestep>,
    },
}

impl Plane {
    /// Puts `mode` underneath `network`. Pods with a sidecar get istio-init's rules or flags; under sidestep the
    /// other pod is attached as well, with nothing captured, so that its sockets take part.
    pub(crate) fn set_up(mode: Mode, setup: Setup, network: &Network, options: &Options) -> Result<Self> {
        let (captured, others) = match setup.topology {
            Topology::Inbound | Topology::Outbound => {
                (vec![network.pod.clone()], vec![network.outside.clone()])
            }
            Topology::Elsewhere => (vec![network.pod.clone()], vec![]),
            Topology::TwoSidecars => (vec![network.pod.clone(), network.outside.clone()], vec![]),
        };
        if let Some(backend) = mode.iptables() {
            let rules = iptables::rules_for(&DEFAULT_FLAGS)?;
            for pod in &captured {
                iptables::apply(pod, &rules, backend)?;
            }
            return Ok(Self::Iptables { backend, captured });
        }
        if mode == Mode::None {
            return Ok(Self::None);
        }
        let wish = match mode {
            Mode::SidestepNoaccel => "off",
            // These programs do not ask FIONREAD as long as their requests are small.
            Mode::SidestepSends => UNKNOWN_SENDS,
            _ => options.accelerate.as_str(),
        };
        let vouched = if mode.is_vouched() {
            vec![wrk::binary(setup.client.name())?, wrk::binary("nginx")?]
        } else {
            vec![]
        };
        let observe = if mode == Mode::SidestepUnobserved { "off" } else { "on" };
        let acceleration = acceleration(wish, &vouched, observe);
        let mut attached = Vec::new();
        for pod in &captured {
            let flags: Vec<&str> = DEFAULT_FLAGS.into_iter().chain(acceleration.iter().copied()).collect();
            attached.push(Sidestep::attach(pod, &flags)?);
        }
        for pod in &others {
            attached.push(Sidestep::attach(pod, &acceleration)?);
        }
        Ok(Self::Sidestep { attached })
    }

    /// Packets its REDIRECT rules have taken; the first of each connection.
    pub(crate) fn redirected_packets(&self) -> Result<u64> {
        let Self::Iptables { backend, captured } = self else { return Ok(0) };
        let mut sum = 0;
        for pod in captured {
            sum += packets(&iptables::listing(pod, *backend)?);
        }
        Ok(sum)
    }
}

/// wrk starts after the attach, so that nobody can look into it; nginx asks FIONREAD when a request fills its buffer,
/// which some kernels answer wrongly, and these requests do not.
fn acceleration<'a>(wish: &'a str, vouched: &'a [PathBuf], observe: &'a str) -> Vec<&'a str> {
    let trust = vouched.iter().flat_map(|path| ["--trust-program", path.to_str().unwrap_or_default()]);
    ["--accelerate", wish, "--observe", observe].into_iter().chain(trust).collect()
}

/// Packet counters of the REDIRECT rules in iptables-save's text, whose lines begin with `[packets:bytes]`.
fn packets(listing: &str) -> u64 {
    let rules = listing.lines().filter(|line| line.contains("-j REDIRECT"));
    rules.filter_map(|line| line.strip_prefix('[')?.split(':').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_only_redirect_rules() {
        let text = "*nat\n:OUTPUT ACCEPT [9:9]\n[3:180] -A A -p tcp -j REDIRECT --to-ports 15001\n\
                    [5:300] -A OUTPUT -p tcp -j A\n[4:240] -A B -p tcp -j REDIRECT --to-ports 15006\n";
        assert_eq!(packets(text), 7);
    }
}
