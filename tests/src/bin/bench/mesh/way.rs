//! What stands between the two applications, and what they are asked to do.

use serde::Serialize;

/// A pair of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// Without sidecars
    None,
    /// The real istio-iptables, in the CNI plugin's place
    Iptables,
    /// Redirection alone
    HooksOnly,
    /// As attach does without being told
    AsInstalled,
    /// Attached again after the start, with the applications named
    Vouched,
}

impl Way {
    pub(crate) const ALL: [Self; 5] =
        [Self::None, Self::Iptables, Self::HooksOnly, Self::AsInstalled, Self::Vouched];

    /// Everything is compared with this.
    pub(crate) const BASE: Self = Self::Iptables;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no sidecar",
            Self::Iptables => "iptables",
            Self::HooksOnly => "hooks only",
            Self::AsInstalled => "as installed",
            Self::Vouched => "vouched for",
        }
    }

    /// In names of pods.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Iptables => "iptables",
            Self::HooksOnly => "hooks",
            Self::AsInstalled => "installed",
            Self::Vouched => "vouched",
        }
    }

    pub(crate) fn colour(self) -> &'static str {
        match self {
            Self::None => "#bbbbbb",
            Self::Iptables => "#d1495b",
            Self::HooksOnly => "#8fb8de",
            Self::AsInstalled => "#1f6fb2",
            Self::Vouched => "#0b3d66",
        }
    }

    pub(crate) fn has_sidecar(self) -> bool {
        self != Self::None
    }

    pub(crate) fn is_sidestep(self) -> bool {
        matches!(self, Self::HooksOnly | Self::AsInstalled | Self::Vouched)
    }

    /// What the pods say to the injector and to the stand-in plugin (docs/cluster.md).
    pub(crate) fn labels(self) -> &'static str {
        if self.has_sidecar() { "" } else { ", sidecar.istio.io/inject: \"false\"" }
    }

    pub(crate) fn annotations(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Iptables => "lab/mode: iptables",
            Self::HooksOnly => "lab/mode: sidestep, lab/flags: \"--accelerate off --observe off\"",
            Self::AsInstalled | Self::Vouched => "lab/mode: sidestep",
        }
    }
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    HttpSmall,
    HttpBig,
    HttpNew,
    TcpSmall,
    TcpNew,
}

impl Work {
    pub(crate) const ALL: [Self; 5] =
        [Self::HttpSmall, Self::HttpBig, Self::HttpNew, Self::TcpSmall, Self::TcpNew];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpSmall => "HTTP small",
            Self::HttpBig => "HTTP 1 MB",
            Self::HttpNew => "HTTP new",
            Self::TcpSmall => "TCP small",
            Self::TcpNew => "TCP new",
        }
    }

    /// An order as the application takes it (tests/cluster/cmd/app/drive.go).
    pub(crate) fn order(self, address: &str, connections: u32, seconds: f64) -> serde_json::Value {
        let (kind, target, bytes) = match self {
            Self::HttpSmall | Self::HttpNew => ("http", format!("http://{address}/"), 60),
            Self::HttpBig => ("http", format!("http://{address}/big"), 1 << 20),
            Self::TcpSmall | Self::TcpNew => ("tcp", format!("{address}:{}", super::pods::TCP_PORT), 60),
        };
        let keep = !matches!(self, Self::HttpNew | Self::TcpNew);
        serde_json::json!({
            "kind": kind, "target": target, "keep": keep, "bytes": bytes,
            "connections": connections, "seconds": seconds,
        })
    }
}
