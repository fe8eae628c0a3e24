//! What is under a pod: nothing, Istio's iptables rules, or sidestep. A test that runs under both has the kernel's own
//! NAT as its oracle.

use anyhow::Result;

use crate::iptables::{self, Backend};
use crate::pod::Pod;
use crate::requirement::{Requirement, met};
use crate::sidestep::{DEFAULT_FLAGS, Sidestep};

/// The pods of the lab have both families; Istio makes IPv6 rules for the second one only where it is told to.
pub fn flags() -> Vec<&'static str> {
    [&DEFAULT_FLAGS[..], &["--dual-stack"]].concat()
}

/// A data plane with the rules of a default installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataPlane {
    Iptables,
    Sidestep,
}

/// One that is in place.
#[derive(Debug)]
pub enum Under {
    /// Goes with the pod's namespace.
    Iptables,
    Sidestep(Sidestep),
}

impl DataPlane {
    /// Whether this machine has what it needs, and `also`.
    pub fn met(self, also: &[Requirement]) -> bool {
        let own = match self {
            Self::Iptables => Requirement::Iptables(Backend::Nft),
            Self::Sidestep => Requirement::Sidestep,
        };
        met(&[Requirement::Root, Requirement::Cgroup2, own]) && met(also)
    }

    /// Puts it under `pod`.
    pub fn under(self, pod: &Pod) -> Result<Under> {
        Ok(match self {
            Self::Iptables => {
                iptables::apply(pod, iptables::default_rules(), Backend::Nft)?;
                // istio-init loads the same rules for IPv6, with ::6 in the place of 127.0.0.6.
                let v6 = iptables::default_rules()
                    .replace("127.0.0.6/32", "::6/128")
                    .replace("127.0.0.1/32", "::1/128");
                iptables::apply_v6(pod, &v6, Backend::Nft)?;
                Under::Iptables
            }
            Self::Sidestep => Under::Sidestep(Sidestep::attach(pod, &flags())?),
        })
    }
}

impl Under {
    /// Asserts that sidestep recorded `name`, a rule or an event, at least `times` times. iptables says nothing.
    pub fn assert_counted(&self, name: &str, times: u64) {
        if let Self::Sidestep(sidestep) = self {
            let counters = sidestep.counters().unwrap();
            assert!(counters.of(name) >= times, "{name} was to be counted {times} times: {counters:?}");
        }
    }
}
