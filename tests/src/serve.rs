//! `sidestep serve` in a namespace of its own, as on a node, and what it answers.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::pod::Pod;
use crate::process::{Command, Process};
use crate::sidestep;

/// A node's metrics server; ends with this value.
#[derive(Debug)]
pub struct Serve {
    process: Process,
    pod: Pod,
    address: SocketAddr,
}

/// An answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// `sidestep serve` with these flags in `pod`.
pub fn command(pod: &Pod, flags: &[&str]) -> Result<Command> {
    Ok(pod.command(sidestep::binary()?).arg("serve").args(flags))
}

impl Serve {
    /// Starts it on a free port, in a pod that is nobody's workload: its own connections count nowhere.
    pub fn start(flags: &[&str]) -> Result<Self> {
        Self::start_with(flags, &[])
    }

    /// The same with environment variables.
    pub fn start_with(flags: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        let pod = Pod::new("serve")?;
        let mut command = command(&pod, flags)?.args(["--listen", "127.0.0.1:0"]);
        for (name, value) in env {
            command = command.env(name, value);
        }
        let process = command.spawn()?;
        process.wait_for("ready")?;
        let out = process.stdout();
        let line = out.lines().find_map(|line| line.strip_prefix("listening http://"));
        let address = line.with_context(|| format!("serve printed {out:?}"))?.parse()?;
        Ok(Self { process, pod, address })
    }

    /// The pod it is in.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Where it listens, in its pod's namespace.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// GET with these request headers.
    pub fn get(&self, path: &str, headers: &[&str]) -> Result<Answer> {
        self.fetch(self.address, path, headers)
    }

    /// GET from another server in its pod.
    pub fn fetch(&self, at: SocketAddr, path: &str, headers: &[&str]) -> Result<Answer> {
        let url = format!("http://{at}{path}");
        let format = r"\n%{http_code} %{content_type}";
        let mut curl = self.pod.command("curl").args(["-sS", "--compressed", "-w", format, &url]);
        for header in headers {
            curl = curl.args(["-H", header]);
        }
        let out = curl.run()?;
        let (body, rest) = out.rsplit_once('\n').context("curl says no status")?;
        let (status, content_type) = rest.split_once(' ').context("curl says no content type")?;
        Ok(Answer {
            status: status.parse().context("status")?,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        })
    }

    /// What `/metrics` says to a client that asks for nothing special.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics(self.get("/metrics", &[])?.body))
    }
}

/// The label that all series of a pod's workload have: `workload="…"`.
pub fn label(pod: &Pod) -> Result<String> {
    Ok(format!("workload=\"{}\"", pod.workload()?))
}

/// A metrics page in Prometheus' text format.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of the series of `name` that have all of these labels (`rule="O15"`).
    pub fn of(&self, name: &str, labels: &[&str]) -> f64 {
        self.series(name)
            .filter(|(set, _)| labels.iter().all(|label| set.contains(label)))
            .map(|(_, v)| v)
            .sum()
    }

    /// Label text and value of each series of `name`.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let own = labels.is_empty() || labels.starts_with('{');
            own.then(|| (labels, value.parse().unwrap_or(f64::NAN)))
        })
    }
}
