//! What stands between the client and the application.

use ::tests::iptables::Backend;
use ::tests::requirement::Requirement;
use clap::ValueEnum;
use serde::Serialize;

/// A data plane under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// No redirection, no sidecar: the client reaches the application directly
    None,
    /// istio-init's rules, by the old interface of the kernel
    IptablesLegacy,
    /// istio-init's rules, by nf_tables
    IptablesNft,
    /// As attach does, and the programs are vouched for
    Sidestep,
    /// As a cluster gets it: attached before the application starts, nothing said
    SidestepInstalled,
    /// The same where the kernel's FIONREAD is right, or as if it were: programs that nobody knows send
    SidestepSends,
    /// Redirection without the acceleration
    SidestepNoaccel,
    /// Everything but the flow records: what those cost
    SidestepUnobserved,
    /// Everything, and `sidestep flows --follow` runs: what that costs
    SidestepFollowed,
}

impl Mode {
    /// Measured unless somebody chooses: those that compare ways of steering.
    pub(crate) const USUAL: [Self; 5] =
        [Self::None, Self::IptablesLegacy, Self::IptablesNft, Self::SidestepNoaccel, Self::Sidestep];

    /// Measured of applications that nobody knows.
    pub(crate) const OF_APPS: [Self; 4] =
        [Self::None, Self::IptablesNft, Self::SidestepNoaccel, Self::SidestepInstalled];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Sidestep => "sidestep",
            Self::SidestepInstalled => "sidestep-installed",
            Self::SidestepSends => "sidestep-sends",
            Self::SidestepNoaccel => "sidestep-noaccel",
            Self::SidestepUnobserved => "sidestep-unobserved",
            Self::SidestepFollowed => "sidestep-followed",
        }
    }

    pub(crate) fn iptables(self) -> Option<Backend> {
        match self {
            Self::IptablesLegacy => Some(Backend::Legacy),
            Self::IptablesNft => Some(Backend::Nft),
            _ => None,
        }
    }

    /// Whether the programs are vouched for, so that everything is to be redirected.
    pub(crate) fn is_vouched(self) -> bool {
        matches!(self, Self::Sidestep | Self::SidestepUnobserved | Self::SidestepFollowed)
    }

    /// Whether nobody may know the programs.
    pub(crate) fn is_unknown(self) -> bool {
        matches!(self, Self::SidestepInstalled | Self::SidestepSends)
    }

    pub(crate) fn is_sidestep(self) -> bool {
        self != Self::None && self.iptables().is_none()
    }

    /// What it needs beside Envoy, nginx and wrk.
    pub(crate) fn requirement(self) -> Option<Requirement> {
        match self.iptables() {
            Some(backend) => Some(Requirement::Iptables(backend)),
            None => self.is_sidestep().then_some(Requirement::Sidestep),
        }
    }
}

/// What everything is compared with: istio-init on a current distribution. Legacy where there is no nft.
pub(crate) fn baseline(modes: &[Mode]) -> Option<Mode> {
    [Mode::IptablesNft, Mode::IptablesLegacy].into_iter().find(|mode| modes.contains(mode))
}
