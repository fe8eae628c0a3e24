//! One connection that has to reach the sidecar's port.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use super::{
    child::Probe,
    probe::{Act, Orders, Said},
};

/// How long an accepted connection may take to be reported.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);

/// Where probes run and as whom.
#[derive(Clone, Debug)]
pub(super) struct ProbeSite {
    pub(super) cgroup_procs: Option<std::path::PathBuf>,
    pub(super) netns: Option<std::path::PathBuf>,
}

impl ProbeSite {
    pub(super) fn orders(&self, user: Option<(u32, u32)>, act: Act) -> Orders {
        Orders { cgroup_procs: self.cgroup_procs.clone(), netns: self.netns.clone(), user, act }
    }
}

/// The row that has to decide, and how often it has.
pub(super) struct RowCount<'a> {
    pub(super) name: &'a str,
    pub(super) read: &'a dyn Fn() -> Result<u64>,
}

/// A connection to make, and the port that has to accept it.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) user: Option<(u32, u32)>,
    pub(super) from: Option<IpAddr>,
    pub(super) to: SocketAddr,
    pub(super) expect: u16,
    pub(super) timeout: Duration,
}

impl Trial {
    /// Against our own listener, which sees everything.
    pub(super) fn against(&self, site: &ProbeSite, listener: &Probe) -> Result<String> {
        let (local, _) = self.connect(site)?;
        let accepted = listener.wait_for(ACCEPTED_WITHIN, |said| match said {
            Said::Accepted { at, peer, original } if peer.port() == local.port() => Some((*at, *original)),
            _ => None,
        });
        let Some((at, original)) = accepted else {
            bail!("{} accepted the connection, but not on port {}: it was not captured", self.to, self.expect)
        };
        ensure!(at.port() == self.expect, "it arrived on port {}, not on {}", at.port(), self.expect);
        match original {
            Some(original) if original == self.to => {
                Ok(format!("{} arrives on port {}, SO_ORIGINAL_DST is {original}", self.to, self.expect))
            }
            Some(original) => {
                bail!("it arrived on port {}, but SO_ORIGINAL_DST says {original}", self.expect)
            }
            None => bail!("it arrived on port {}, but SO_ORIGINAL_DST does not answer", self.expect),
        }
    }

    /// Against a sidecar that listens already, of which we see only that it accepts: the client's own socket knows
    /// whether it was redirected, and `decided` how often the row has decided so far.
    pub(super) fn against_sidecar(&self, site: &ProbeSite, decided: Option<&RowCount<'_>>) -> Result<String> {
        let count = || decided.map_or(Ok(0), |row| (row.read)());
        let before = count()?;
        let (_, original) = self.connect(site)?;
        ensure!(
            original == Some(self.to),
            "{} accepted the connection, but it was not redirected (SO_ORIGINAL_DST of the client: {})",
            self.to,
            original.map_or_else(|| "none".to_owned(), |to| to.to_string())
        );
        let Some(row) = decided else {
            return Ok(format!("{} is accepted by what listens on port {}", self.to, self.expect));
        };
        ensure!(count()? > before, "the connection succeeded, but row {} did not count it", row.name);
        Ok(format!(
            "{} is accepted by the sidecar on port {}, row {} counted it",
            self.to, self.expect, row.name
        ))
    }

    fn connect(&self, site: &ProbeSite) -> Result<(SocketAddr, Option<SocketAddr>)> {
        let timeout_ms = self.timeout.as_millis() as u64;
        let orders = site.orders(self.user, Act::Connect { to: self.to, bind: self.from, timeout_ms });
        match Probe::connect(&orders, self.timeout)? {
            Said::Connected { local, original } => Ok((local, original)),
            Said::NotConnected(why) => bail!(
                "connect to {}: {why}; either it was not captured, or nobody listens on port {}",
                self.to,
                self.expect
            ),
            other => bail!("the probe said {other:?} in place of connecting"),
        }
    }
}
