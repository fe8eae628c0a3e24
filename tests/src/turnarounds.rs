//! Turnarounds: an application that waits as it is asked to, and what `serve` says of how long its answers take.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::pod::Pod;
use crate::process::Process;
use crate::report::Turns;
use crate::serve::{Metrics, Serve};

const ASKED_WITHIN: Duration = Duration::from_secs(60);

/// An application that waits as the path of a request says, in milliseconds.
pub fn answerer(pod: &Pod, listen: SocketAddr) -> Result<Process> {
    answerer_of(pod, listen, u32::MAX)
}

/// The same, ending a connection with its answer to so many requests.
pub fn answerer_of(pod: &Pod, listen: SocketAddr, most: u32) -> Result<Process> {
    let command = pod.agent_as_app("turns")?.args(["answer", "--listen", &listen.to_string()]);
    let process = command.args(["--most", &most.to_string()]).spawn()?;
    process.wait_for("ready")?;
    Ok(process)
}

/// Asks one request after the other on a connection of its own; how long each took, in microseconds.
pub fn ask(pod: &Pod, to: SocketAddr, flags: &[&str]) -> Result<Vec<u64>> {
    let mut process =
        pod.agent_as_app("turns")?.args(["ask", "--to", &to.to_string()]).args(flags).spawn()?;
    ensure!(process.wait(ASKED_WITHIN)?.success(), "asking {to}: {}", process.stderr());
    Ok(process.records::<Turns>().pop().context("no report")?.us)
}

/// The turnarounds at one end of a pod's hop.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct End {
    /// Requests that the measured ones stand for.
    pub count: u64,
    /// Requests that were measured.
    pub measured: u64,
    /// Microseconds, all together.
    pub sum: u64,
    /// Median, microseconds.
    pub p50: u64,
    /// Microseconds.
    pub p99: u64,
}

/// What `serve` says of the turnarounds, as JSON and as metrics.
#[derive(Debug)]
pub struct Seen {
    page: Value,
    /// What a scrape of the same moment has.
    pub metrics: Metrics,
}

impl Seen {
    /// What it says now.
    pub fn now() -> Result<Self> {
        let serve = Serve::start(&[])?;
        let page = serve.get("/api/v1/node", &[])?.body;
        Ok(Self {
            page: serde_json::from_str(&page).context("read the page's API")?,
            metrics: serve.metrics()?,
        })
    }

    /// At the client's end of this hop, or the server's.
    pub fn of(&self, pod: &Pod, hop: &str, end: &str) -> Result<End> {
        let name = pod.workload()?;
        let workloads = self.page["workloads"].as_array().context("no workloads")?;
        let workload = workloads.iter().find(|of| of["workload"] == *name).context("no such workload")?;
        let classes = workload["classes"].as_array().context("no classes")?.iter();
        let classes = classes.filter(|class| class["hop"] == hop);
        let seen: Vec<&Value> =
            classes.map(|class| &class[format!("{end}_turnaround")]).filter(|it| !it.is_null()).collect();
        let [of] = seen[..] else { bail!("{hop}, {end}: {workload:#}") };
        let number = |name: &str| of[name].as_u64().with_context(|| format!("no {name}: {of}"));
        Ok(End {
            count: number("requests")?,
            measured: number("measured")?,
            sum: number("sum_us")?,
            p50: number("p50_us")?,
            p99: number("p99_us")?,
        })
    }
}
