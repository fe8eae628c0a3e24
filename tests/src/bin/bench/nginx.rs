//! The application: nginx, one process, with a small and a large body.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::pod::Pod;
use ::tests::process::Process;
use ::tests::readiness;
use ::tests::server::APP_USER;
use anyhow::{Context, Result};

use crate::case::Work;

/// First of [`PORTS`] ports.
pub(crate) const FIRST_PORT: u16 = 8080;
/// Runs of new connections take the ports in turn: TIME_WAIT lasts 60 s and one port's share of the ephemeral ports
/// is 28,232.
pub(crate) const PORTS: u16 = 10;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// All its ports.
pub(crate) fn ports() -> Vec<u16> {
    (FIRST_PORT..FIRST_PORT + PORTS).collect()
}

/// Starts it in `pod`, listening on every port of `bind`; `at` answers once it is ready.
pub(crate) fn start(pod: &Pod, bind: std::net::IpAddr, at: SocketAddr) -> Result<Process> {
    let www = pod.scratch().join("www");
    std::fs::create_dir_all(&www).context("make nginx's directory")?;
    let size = usize::try_from(Work::Bulk(1).body())?;
    std::fs::write(www.join("big"), vec![b'x'; size]).context("write the large body")?;
    let path = pod.scratch().join("bench-nginx.conf");
    std::fs::write(&path, config(pod, bind)).with_context(|| format!("write {}", path.display()))?;
    let command = pod.command("nginx").args(["-e", "stderr", "-c"]).arg(&path);
    let process = command.user(APP_USER.0, APP_USER.1).spawn()?;
    readiness::http_ok(&process, at, Work::Small(1).path(), READY_WITHIN)?;
    Ok(process)
}

fn config(pod: &Pod, bind: std::net::IpAddr) -> String {
    let scratch = pod.scratch().display();
    let listen = ports().iter().fold(String::new(), |mut text, port| {
        writeln!(text, "    listen {};", SocketAddr::new(bind, *port)).ok();
        text
    });
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {scratch}/nginx-{kind};\n"))
        .collect();
    let small = "ok-".repeat(19);
    format!(
        "daemon off;\nmaster_process off;\npid {scratch}/nginx.pid;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n{temporary}  default_type text/plain;\n  \
         server {{\n{listen}    root {scratch}/www;\n    \
         location = /small {{ return 200 \"{small}ok\\n\"; }}\n  }}\n}}\n",
    )
}
