//! What the user should know of an enrolment that did not fail.

use std::fmt;

use proxy_core::{config::Config, network::Interfaces};

use crate::kernel::feature::Feature;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// Socket owners are recorded when a socket is created, and why.
    OwnersRecorded {
        why: String,
    },
    /// A rule names an interface that is not there.
    UnknownInterface {
        name: String,
    },
    /// Rules about interfaces that this kernel cannot follow for what arrives.
    BlindToInterfaces {
        names: Vec<String>,
    },
    /// Sidecar listeners of processes that are not visible here.
    HiddenListeners {
        all: usize,
        hidden: usize,
    },
    NotAccelerated {
        why: String,
    },
    /// What makes it fast failed after capture was in place.
    NotAcceleratedYet {
        why: String,
    },
    NotObserved {
        why: String,
    },
    NotTimed {
        why: String,
    },
    /// Listeners that were there first do not say whose they are.
    UnmarkedListeners {
        why: String,
    },
    /// `::6` could not be put on lo.
    NoPassthrough6 {
        why: String,
    },
    /// Connections of virtual machines to others than the pod stay as they are.
    GuestsNotCaptured {
        interfaces: Vec<String>,
        why: String,
    },
    /// A virtual machine's interface has no address.
    GuestWithoutAddress {
        interface: String,
    },
    /// The history has nothing of it.
    NotRecorded {
        why: String,
    },
    /// The new rules are in force, and something of the old ones could not be removed.
    Left {
        what: &'static str,
        why: String,
    },
}

impl Warning {
    pub(super) fn of_interfaces(config: &Config, interfaces: &Interfaces) -> Vec<Self> {
        let named = || config.exclude_interfaces.iter().chain(&config.kube_virt_interfaces);
        let mut found: Vec<Self> = named()
            .filter(|name| interfaces.index(name).is_none())
            .map(|name| Self::UnknownInterface { name: name.clone() })
            .collect();
        if named().next().is_some() && !Feature::IngressIfindex.probe().is_yes() {
            found.push(Self::BlindToInterfaces { names: named().cloned().collect() });
        }
        found
    }

    /// What became of removing something that nobody uses any more.
    pub(super) fn of_removing(what: &'static str, result: anyhow::Result<()>) -> Option<Self> {
        result.err().map(|error| Self::Left { what, why: format!("{error:#}") })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnersRecorded { why } => write!(
                f,
                "socket owners are recorded when a socket is created, real ids only, not for sockets that exist \
                 already: {why}"
            ),
            Self::UnknownInterface { name } => write!(
                f,
                "interface {name} does not exist: rules about it take effect when attach runs again after it does"
            ),
            Self::BlindToInterfaces { names } => write!(
                f,
                "rules about {} have no effect on inbound connections: the kernel does not say by which interface a \
                 connection arrives, Linux {} does",
                names.join(", "),
                Feature::IngressIfindex.row().since
            ),
            Self::HiddenListeners { all, hidden } => write!(
                f,
                "{hidden} of {all} sidecar listeners cannot be reached from here; they are found when they listen again"
            ),
            Self::NotAccelerated { why } => write!(f, "captured, but not accelerated: {why}"),
            Self::NotAcceleratedYet { why } => {
                write!(f, "redirected, but not accelerated: {why}; run attach again")
            }
            Self::NotObserved { why } => write!(f, "captured, but connections are not observed: {why}"),
            Self::NotTimed { why } => write!(f, "observed, but turnarounds are not measured: {why}"),
            Self::UnmarkedListeners { why } => write!(
                f,
                "flows of listeners that were there before do not name their process: {why}; run attach again"
            ),
            Self::NoPassthrough6 { why } => {
                write!(f, "the sidecar cannot forward inbound IPv6 connections from ::6: {why}")
            }
            Self::NotRecorded { why } => write!(
                f,
                "done, but not kept in the history: {why}; make room or name another file with SIDESTEP_HISTORY"
            ),
            Self::Left { what, why } => {
                write!(f, "{what} could not be removed, which changes no decision: {why}")
            }
            Self::GuestsNotCaptured { interfaces, why } => write!(
                f,
                "TCP connections that a virtual machine behind {} makes to others than the pod are not captured: {why}",
                interfaces.join(", ")
            ),
            Self::GuestWithoutAddress { interface } => write!(
                f,
                "interface {interface} has no address: as under iptables, a virtual machine's captured connections \
                 are dropped there"
            ),
        }
    }
}
