//! One way's client and server, and a load between them.

use std::collections::BTreeMap;
use std::time::Instant;

use ::tests::sidestep;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::driver::Driver;
use super::pods::{self, NAMESPACE, TCP_PORT};
use super::way::{Way, Work};

#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) way: Way,
    cluster: &'a Cluster,
    client: Driver,
    server: Driver,
    address: String,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Load {
    pub(crate) turn: usize,
    pub(crate) work: Work,
    pub(crate) way: Way,
    pub(crate) requests: u64,
    /// With any, it is no figure.
    pub(crate) errors: u64,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of both pods together: applications and sidecars.
    pub(crate) cpu_us_per_request: f64,
    /// Of the time of one CPU, how much the pods had.
    pub(crate) cpu_share: f64,
    /// Messages that did not go over the stack, for each request.
    pub(crate) redirected_per_request: f64,
}

impl<'a> Pair<'a> {
    pub(crate) fn find(cluster: &'a Cluster, way: Way) -> Result<Self> {
        let driver = |role| Driver::find(cluster, format!("{role}-{}", way.slug()));
        Ok(Self {
            way,
            cluster,
            client: driver("client")?,
            server: driver("server")?,
            address: pods::address(cluster, way)?,
        })
    }

    pub(crate) fn prepare(&self, cpu: usize) -> Result<()> {
        for driver in [&self.client, &self.server] {
            driver.account.pin(cpu)?;
            if self.way == Way::Vouched {
                driver.vouch(self.cluster).with_context(|| format!("vouch for {}", driver.pod))?;
            }
        }
        Ok(())
    }

    /// Fails unless requests go the way it says. STRICT servers are not reached but by mutual TLS.
    pub(crate) fn check(&mut self) -> Result<()> {
        let who = self.client.ask("get", &format!("http://{}/who", self.address))?;
        let raw = self.client.ask("who", &format!("{}:{TCP_PORT}", self.address))?;
        let sidecar = self.way.has_sidecar();
        ensure!(who.contains("By=spiffe://") == sidecar, "{}: {who}", self.way.name());
        let peers = [who.contains("peer 127.0.0.6:"), raw.starts_with("127.0.0.6:")];
        ensure!(peers == [sidecar; 2], "{}: {who}, {raw}", self.way.name());
        let attached = self.workloads()?.len();
        let expected = if self.way.is_sidestep() { 2 } else { 0 };
        ensure!(attached == expected, "{}: {attached} pods are attached", self.way.name());
        Ok(())
    }

    pub(crate) fn load(&mut self, turn: usize, work: Work, connections: u32, seconds: f64) -> Result<Load> {
        let redirected = self.redirected()?;
        let (begun, cpu) = (Instant::now(), self.used_us()?);
        let answer = self.client.order(&work.order(&self.address, connections, seconds))?;
        let (cpu, took) = (self.used_us()? - cpu, begun.elapsed());
        let redirected = self.redirected()?.saturating_sub(redirected);
        if self.way == Way::HooksOnly && redirected > 0 {
            bail!("{redirected} messages were redirected under --accelerate off");
        }
        let requests = answer.ok as f64;
        Ok(Load {
            turn,
            work,
            way: self.way,
            requests: answer.ok,
            errors: answer.errors,
            faults: answer.faults,
            requests_per_second: requests / answer.seconds,
            p50_us: answer.p50_us,
            p99_us: answer.p99_us,
            cpu_us_per_request: cpu / requests,
            cpu_share: cpu / took.as_micros() as f64,
            redirected_per_request: redirected as f64 / requests,
        })
    }

    fn used_us(&self) -> Result<f64> {
        Ok(self.client.account.used_us()? + self.server.account.used_us()?)
    }

    fn redirected(&self) -> Result<u64> {
        if !self.way.is_sidestep() {
            return Ok(0);
        }
        let workloads = self.workloads()?;
        let counts = workloads.iter().map(|it| it["acceleration"]["redirected"]["messages"].as_u64());
        Ok(counts.map(Option::unwrap_or_default).sum())
    }

    /// Its pods' entries of `sidestep status`.
    fn workloads(&self) -> Result<Vec<Value>> {
        let binary = sidestep::binary()?.display().to_string();
        let text = self.cluster.run(&[&binary, "status", "--output", "json"])?;
        let status: Value = serde_json::from_str(&text).context("read sidestep status")?;
        let pods = [&self.client, &self.server].map(|driver| driver.pod.as_str());
        let mut all = status["workloads"].as_array().cloned().unwrap_or_default();
        all.retain(|workload| {
            let pod = &workload["meta"]["pod"];
            pod["namespace"] == NAMESPACE && pods.iter().any(|name| pod["name"] == *name)
        });
        Ok(all)
    }
}
