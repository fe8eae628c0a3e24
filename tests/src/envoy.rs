//! Real Envoy as the sidecar.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::envoy_config::SidecarConfig;
use crate::pod::Pod;
use crate::process::Process;
use crate::{agent, readiness};

/// Envoy's admin interface.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The Envoy binary: `SIDESTEP_ENVOY`, else what `cargo xtask setup` unpacked.
pub fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("SIDESTEP_ENVOY").map(PathBuf::from);
    named.or_else(|| Some(agent::repository().join("target/tools/envoy/envoy"))).filter(|path| path.is_file())
}

/// Starts Envoy in `pod`; returns once its workers listen.
pub(crate) fn start(pod: &Pod, config: &SidecarConfig, access_log: &Path) -> Result<Process> {
    let binary = binary().context("no Envoy: run `cargo xtask setup`, or set SIDESTEP_ENVOY")?;
    let bootstrap = access_log.with_extension("envoy.json");
    let text = serde_json::to_string_pretty(&config.bootstrap(access_log))?;
    std::fs::write(&bootstrap, text).with_context(|| format!("write {}", bootstrap.display()))?;
    let process = pod
        .command(binary)
        .user(config.user().0, config.user().1)
        .arg("--config-path")
        .arg(&bootstrap)
        .args(["--concurrency", &config.concurrency.to_string()])
        .args(["--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "20"])
        .spawn()?;
    // `/ready` answers 200 a moment before the workers run; this counter turns 1 when they do.
    let path = "/stats?filter=listener_manager.workers_started";
    readiness::http_contains(&process, ADMIN, path, "workers_started: 1", READY_WITHIN)?;
    Ok(process)
}
