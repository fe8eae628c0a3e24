//! `sidestep relay`, the embedded sidecar, where there is no Envoy.

use std::path::Path;

use anyhow::Result;

use crate::envoy_config::{Forward, SidecarConfig};
use crate::pod::Pod;
use crate::process::Process;
use crate::server::PROXY_USER;
use crate::sidestep;

/// Starts the relay in `pod`; returns once it listens.
pub(crate) fn start(pod: &Pod, config: &SidecarConfig, access_log: &Path) -> Result<Process> {
    let mode = match config.forward {
        Forward::Localhost => "lo",
        Forward::Passthrough => "eth0",
    };
    let mut command = pod
        .command(sidestep::binary()?)
        .user(PROXY_USER.0, PROXY_USER.1)
        .args(["relay", "--mode", mode, "--outbound", "0.0.0.0:15001", "--inbound", "0.0.0.0:15006"])
        .args(if config.ipv6 { &["--outbound", "[::]:15001", "--inbound", "[::]:15006"][..] } else { &[] })
        .arg("--access-log")
        .arg(access_log);
    for port in &config.declared_ports {
        command = command.args(["--declared-port", &port.to_string()]);
    }
    let process = command.spawn()?;
    process.wait_for("ready")?;
    Ok(process)
}
