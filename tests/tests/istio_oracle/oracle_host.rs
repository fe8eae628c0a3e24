//! Both programs on one host, and what the real one left in the kernel.

use anyhow::{Context, Result};
use tests::istio_iptables;
use tests::pod::Pod;
use tests::process::Command;
use tests::settings::{CommandLine, Settings};
use tests::sidestep::{self, Ended};

pub(crate) struct OracleHost {
    pod: Pod,
}

impl OracleHost {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { pod: settings.host.build("istio-oracle")? })
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// `sidestep istio-iptables` with the settings, without attaching: what is refused is refused before.
    pub(crate) fn sidestep(&self, line: &CommandLine) -> Result<Ended> {
        self.with(&[sidestep::binary()?.to_string_lossy().as_ref(), "istio-iptables", "--dry-run"], line)
    }

    /// `sidestep rules` with the settings and the resolver's servers, which it does not read itself.
    pub(crate) fn rules(&self, line: &CommandLine, servers: &[String]) -> Result<Ended> {
        let binary = sidestep::binary()?.display().to_string();
        let mut words = vec![binary, "rules".to_owned()];
        words.extend(servers.iter().map(|server| format!("--dns-server={server}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.with(&words, line)
    }

    /// Istio's own program, for real.
    pub(crate) fn istio(&self, line: &CommandLine) -> Result<Ended> {
        self.with(&[&istio_iptables::binary()?.to_string_lossy()], line)
    }

    /// What is in the kernel now, by family.
    pub(crate) fn saved(&self) -> Result<[String; 2]> {
        let save = |program: &str| self.command(program).run().with_context(|| format!("run {program}"));
        Ok([save("iptables-nft-save")?, save("ip6tables-nft-save")?])
    }

    fn with(&self, words: &[&str], line: &CommandLine) -> Result<Ended> {
        let (program, args) = words.split_first().context("no program")?;
        let mut command = self.command(program).args(args).args(&line.args);
        for (name, value) in &line.env {
            command = command.env(name, value);
        }
        command.ended()
    }

    fn command(&self, program: &str) -> Command {
        self.pod.command(program).etc(self.pod.scratch().join("etc"))
    }
}
