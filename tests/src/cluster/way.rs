//! The ways of capture that are compared.

use super::revision;

/// Who captures the connections of a namespace's pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// istio-init, of an Istio of its own (revision `init`).
    Iptables,
    /// sidestep, run by the plugin that stands in for its own.
    Sidestep,
}

impl Way {
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Sidestep];

    /// The namespace of its pods.
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Iptables => "by-iptables",
            Self::Sidestep => "by-sidestep",
        }
    }

    /// What has Istio inject its sidecars there.
    pub const fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::Iptables => ("istio.io/rev", revision::NAME),
            Self::Sidestep => ("istio-injection", "enabled"),
        }
    }
}
