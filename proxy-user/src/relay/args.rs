use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum, value_parser};

/// Embedded L4 sidecar in place of Envoy, for the demo and for tests
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  setpriv --reuid 1337 --regid 1337 --clear-groups sidestep relay --access-log -"
)]
pub struct RelayArgs {
    /// Where captured outbound connections are taken.
    #[arg(
        long,
        value_name = "ADDR",
        help = "Take captured outbound connections here; repeatable, port 0 works [default: 0.0.0.0:15001 and \
                [::]:15001]"
    )]
    pub outbound: Vec<SocketAddr>,

    /// Where captured inbound connections are taken.
    #[arg(
        long,
        value_name = "ADDR",
        help = "Take captured inbound connections here; repeatable, port 0 works [default: 0.0.0.0:15006 and \
                [::]:15006]"
    )]
    pub inbound: Vec<SocketAddr>,

    /// How inbound connections reach the application
    #[arg(long, value_enum, default_value_t = Mode::Eth0)]
    pub mode: Mode,

    /// With --mode lo, only these ports go to loopback, the others pass through; repeatable [default: all]
    #[arg(long = "declared-port", value_name = "PORT", value_parser = value_parser!(u16).range(1..))]
    pub declared_ports: Vec<u16>,

    /// Append one JSON line per connection to this file (`-`: stdout)
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,

    /// After SIGTERM or SIGINT, how long open connections may still take
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub drain: u64,
}

/// The two ways Istio's sidecar has reached the application over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Istio <= 1.9: declared ports on 127.0.0.1 or ::1
    Lo,
    /// Istio >= 1.10: the original destination, from 127.0.0.6 or ::6
    Eth0,
}

impl RelayArgs {
    /// No declared port at all means every port.
    pub(super) fn declared(&self) -> Option<BTreeSet<u16>> {
        let ports: BTreeSet<u16> = self.declared_ports.iter().copied().collect();
        (!ports.is_empty()).then_some(ports)
    }
}
