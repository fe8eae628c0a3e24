//! What a workload's capture rules are: from flags, environment and annotations to one validated [`Config`].
//!
//! Flags, variables and annotations become one table of values by setting ([`Given`]); [`setting`] has the names.
//! [`Given::resolve`] and [`from_annotations`] turn the table into a [`Config`], or report every fault at once
//! ([`ConfigFaults`]).
//! Nothing here reads the host by itself: what has to be looked up goes through [`Host`].

mod accounts;
mod annotation_checks;
mod annotations;
mod annotations_file;
mod captures;
mod choice;
mod cidr;
mod difference;
mod dns;
mod environment;
mod extras;
mod fault;
mod given;
mod go_value;
mod interfaces;
mod owner_groups;
mod pod_name;
mod ports;
mod resolve;
mod run_options;
pub mod setting;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

pub use accounts::{Host, Lookup, NoHost, ThisHost};
pub use annotations::{
    Capture, Defaults, OptOut, ProxySettings, accelerate_opt_out, from_annotations, opted_out,
};
pub use annotations_file::parse_annotations;
pub use choice::Choice;
pub use cidr::CidrSet;
pub use difference::{Change, Settings};
pub use dns::{DnsCapture, DnsServers, parse_resolv_conf};
pub use environment::Environment;
pub use extras::{Accelerate, Acceleration, Observe};
pub use fault::{ConfigFaults, Fault};
pub use given::{Given, Value, warn_of_words};
pub use owner_groups::{OwnerGroup, OwnerGroups};
pub use pod_name::{NoPodName, PodName};
pub use ports::{PortSet, Ports};
pub use resolve::Resolved;
pub use run_options::{IptablesBinary, RunOptions};

/// The decision input of one workload: everything Istio's rule generator looks at, validated. Plain data, stored
/// next to the pins. Lists keep the order they were given in (the rules depend on it) and their duplicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub ports: Ports,
    /// Owners whose traffic is the proxy's own. Never empty.
    pub proxy_uids: Vec<u32>,
    /// Never empty.
    pub proxy_gids: Vec<u32>,
    pub mode: Mode,
    pub tproxy_mark: u32,
    pub tproxy_route_table: u32,
    pub inbound_include: PortSet,
    /// Looked at only when `inbound_include` is [`PortSet::All`].
    pub inbound_exclude: Vec<u16>,
    /// TCP ports captured whatever the address.
    pub outbound_ports_include: Vec<u16>,
    /// TCP and UDP ports left alone.
    pub outbound_ports_exclude: Vec<u16>,
    pub outbound_include: CidrSet,
    pub outbound_exclude: Vec<IpNet>,
    pub exclude_interfaces: Vec<String>,
    /// Interfaces whose incoming traffic is treated as outbound.
    pub kube_virt_interfaces: Vec<String>,
    pub owner_groups: OwnerGroups,
    /// `None` is off. `Some` with an empty list is on in name only: see [`Config::dns_active`].
    pub dns: Option<DnsCapture>,
    /// What counts as "this host" for IPv4 (`! -d LB`, `-d LB -j RETURN`); ::1/128 for IPv6.
    pub loopback_cidr: Ipv4Net,
    /// A no-op for the eBPF programs (there is no conntrack state to be INVALID); `rules` shows it.
    pub drop_invalid: bool,
    /// Rules for IPv6 as well.
    pub dual_stack: bool,
}

/// How inbound connections reach the sidecar. Outbound is always a redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Redirect,
    Tproxy,
}

impl Mode {
    /// As Istio writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirect => "REDIRECT",
            Self::Tproxy => "TPROXY",
        }
    }
}

impl Config {
    /// The DNS capture the rules implement. Istio turns capture off, with a warning, when it would have to know the
    /// servers and knows none; then even the port 53 exceptions of the proxy rules are gone.
    pub fn dns_active(&self) -> Option<&DnsCapture> {
        self.dns.as_ref().filter(|dns| !dns.servers.is_none())
    }

    /// True when the outbound include list names a loopback range of either family: then no rule returns
    /// local traffic of other owners early (rows O4, O7 are absent).
    pub fn includes_loopback(&self) -> bool {
        self.outbound_include.has_loopback()
    }
}

impl Default for Config {
    /// What istio-iptables does without flags and environment: nothing inbound, nothing outbound.
    fn default() -> Self {
        Self {
            ports: Ports::default(),
            proxy_uids: vec![setting::DEFAULT_PROXY_ID],
            proxy_gids: vec![setting::DEFAULT_PROXY_ID],
            mode: Mode::Redirect,
            tproxy_mark: setting::DEFAULT_TPROXY_MARK,
            tproxy_route_table: setting::DEFAULT_TPROXY_TABLE,
            inbound_include: PortSet::None,
            inbound_exclude: Vec::new(),
            outbound_ports_include: Vec::new(),
            outbound_ports_exclude: Vec::new(),
            outbound_include: CidrSet::default(),
            outbound_exclude: Vec::new(),
            exclude_interfaces: Vec::new(),
            kube_virt_interfaces: Vec::new(),
            owner_groups: OwnerGroups::default(),
            dns: None,
            loopback_cidr: cidr::default_loopback(),
            drop_invalid: false,
            dual_stack: false,
        }
    }
}
