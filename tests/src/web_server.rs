//! Real web servers as applications. Each answers every request with the peer it saw.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::pod::Pod;
use crate::process::Process;
use crate::readiness;
use crate::requirement::Requirement;
use crate::server::APP_USER;

const READY_WITHIN: Duration = Duration::from_secs(10);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebServer {
    Nginx,
    Haproxy,
}

impl WebServer {
    /// What a test with it needs.
    pub fn requirement(self) -> Requirement {
        match self {
            Self::Nginx => Requirement::Program("nginx", "nginx-light"),
            Self::Haproxy => Requirement::Program("haproxy", "haproxy"),
        }
    }

    /// Starts it in `pod` as [`APP_USER`], listening on `addresses`; returns once the first of them answers root in
    /// the pod. Bodies are `address:port` of the peer (IPv6 in brackets), see [`peer`].
    pub fn start(self, pod: &Pod, addresses: &[SocketAddr]) -> Result<RunningWebServer> {
        let path =
            pod.scratch().join(format!("{self:?}-{}.conf", addresses.first().map_or(0, SocketAddr::port)));
        let text = match self {
            Self::Nginx => nginx(pod, addresses),
            Self::Haproxy => haproxy(addresses),
        };
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        let command = match self {
            Self::Nginx => pod.command("nginx").args(["-e", "stderr", "-c"]),
            Self::Haproxy => pod.command("haproxy").args(["-db", "-f"]),
        };
        let process = command.arg(&path).user(APP_USER.0, APP_USER.1).spawn()?;
        let first = *addresses.first().context("a server without an address")?;
        readiness::http_ok(&process, reachable(first), "/", READY_WITHIN)?;
        Ok(RunningWebServer { process })
    }
}

/// A wildcard address is asked on its loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => ([127, 0, 0, 1], v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

/// The peer a body names.
pub fn peer(body: &str) -> Result<SocketAddr> {
    let text = body.trim();
    let (ip, port) = text.rsplit_once(':').with_context(|| format!("no peer in {text:?}"))?;
    let ip = ip.trim_matches(['[', ']']).parse().with_context(|| format!("no address in {text:?}"))?;
    Ok(SocketAddr::new(ip, port.parse().with_context(|| format!("no port in {text:?}"))?))
}

/// One process: the end of the master would leave its workers to the pod's end.
fn nginx(pod: &Pod, addresses: &[SocketAddr]) -> String {
    let scratch = pod.scratch().display();
    let listen: String = addresses.iter().fold(String::new(), |mut text, address| {
        write!(text, "listen {address}; ").ok();
        text
    });
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("  {kind}_temp_path {scratch}/nginx-{kind};\n"))
        .collect();
    format!(
        "daemon off;\nmaster_process off;\npid {scratch}/nginx-{}.pid;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n{temporary}  default_type text/plain;\n  \
         server {{ {listen}location / {{ return 200 \"$remote_addr:$remote_port\\n\"; }} }}\n}}\n",
        addresses.first().map_or(0, SocketAddr::port),
    )
}

fn haproxy(addresses: &[SocketAddr]) -> String {
    let mut text = String::from(
        "global\n  maxconn 4096\ndefaults\n  mode http\n  timeout client 10s\n  timeout connect 10s\n  \
         timeout server 10s\nfrontend peer\n",
    );
    for address in addresses {
        writeln!(text, "  bind {address}").ok();
    }
    text.push_str(
        "  http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\\n\"\n",
    );
    text
}

/// A web server that answers.
#[derive(Debug)]
pub struct RunningWebServer {
    process: Process,
}

impl RunningWebServer {
    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}
