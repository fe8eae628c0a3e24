//! What stands between the client and the application.

use ::tests::iptables::Backend;
use ::tests::requirement::Requirement;
use serde::Serialize;

/// A data plane under measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// No redirection, no sidecar: the client reaches the application directly.
    None,
    IptablesLegacy,
    IptablesNft,
    Sidestep,
    /// Redirection without the acceleration.
    SidestepNoaccel,
}

impl Mode {
    pub(crate) const ALL: [Self; 5] =
        [Self::None, Self::IptablesLegacy, Self::IptablesNft, Self::SidestepNoaccel, Self::Sidestep];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Sidestep => "sidestep",
            Self::SidestepNoaccel => "sidestep-noaccel",
        }
    }

    pub(crate) fn iptables(self) -> Option<Backend> {
        match self {
            Self::IptablesLegacy => Some(Backend::Legacy),
            Self::IptablesNft => Some(Backend::Nft),
            Self::None | Self::Sidestep | Self::SidestepNoaccel => None,
        }
    }

    pub(crate) fn is_sidestep(self) -> bool {
        matches!(self, Self::Sidestep | Self::SidestepNoaccel)
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
