//! The application: a real program with a small and a large body.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::pod::Pod;
use ::tests::process::{self, Process};
use ::tests::readiness;
use ::tests::requirement::Requirement;
use ::tests::server::APP_USER;
use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::case::Work;
use crate::nginx;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// One that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum App {
    Nginx,
    /// `http` of its own library.
    Node,
    /// CPython: a protocol of asyncio, HTTP parsed as far as it takes.
    Asyncio,
    /// `net/http`.
    Go,
}

impl App {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Node => "Node",
            Self::Asyncio => "asyncio",
            Self::Go => "Go",
        }
    }

    /// Why it cannot be had here.
    pub(crate) fn missing(self) -> Option<String> {
        let (program, package) = match self {
            Self::Nginx => ("nginx", "nginx-light"),
            Self::Node => ("node", "nodejs"),
            Self::Asyncio => ("/usr/bin/python3", "python3"),
            Self::Go => return go().is_none().then(|| "no Go: install it, or leave it out".to_owned()),
        };
        Requirement::Program(program, package).missing()
    }

    /// Starts it in `pod`, listening on `bind`; `at` answers once it is ready.
    pub(crate) fn start(self, pod: &Pod, bind: std::net::IpAddr, at: SocketAddr) -> Result<Process> {
        let address = [bind.to_string(), nginx::FIRST_PORT.to_string()];
        let script = |name: &str, text: &str| -> Result<PathBuf> {
            let path = pod.scratch().join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        let command = match self {
            Self::Nginx => return nginx::start(pod, bind, at),
            Self::Node => pod.command("node").arg(script("app.js", include_str!("app.js"))?),
            Self::Asyncio => pod.command("/usr/bin/python3").arg(script("app.py", include_str!("app.py"))?),
            Self::Go => pod.command(built(&script("app.go", include_str!("app.go"))?)?),
        };
        let process = command.args(address).user(APP_USER.0, APP_USER.1).spawn()?;
        readiness::http_ok(&process, at, Work::Small(1).path(), READY_WITHIN)?;
        Ok(process)
    }
}

/// Where Go is, if anywhere: on PATH, or where its own archive puts it.
fn go() -> Option<PathBuf> {
    process::path_of("go").or_else(|| process::path_of("/usr/local/go/bin/go"))
}

fn built(source: &Path) -> Result<PathBuf> {
    let program = source.with_extension("");
    let made = Command::new(go().context("no Go")?)
        .args(["build", "-o"])
        .args([&program, &source.to_owned()])
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .output()
        .context("run Go")?;
    ensure!(made.status.success(), "Go: {}", String::from_utf8_lossy(&made.stderr));
    Ok(program)
}
