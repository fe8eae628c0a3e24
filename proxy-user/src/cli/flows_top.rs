//! `sidestep flows --top`: where its snapshots come from.

use std::time::Instant;

use anyhow::Result;
use proxy_plane::flows::{self, Filter, Journal};

use super::flows_follow::Watched;
use crate::top::{Snapshot, Source};

/// The kernel's records.
pub(super) struct Records {
    filter: Filter,
    given: String,
    journal: Journal,
    watched: Watched,
}

impl Records {
    /// `given`: the filter as the command line has it.
    pub(super) fn open(filter: Filter, given: String) -> Result<Self> {
        Ok(Self { journal: Journal::open(false)?, watched: Watched::of(&filter)?, filter, given })
    }
}

impl Source for Records {
    fn snapshot(&mut self) -> Result<Snapshot> {
        self.watched.check()?;
        let mut batch = self.journal.read()?;
        batch.flows.retain(|flow| self.filter.matches(flow));
        let live = flows::live(&self.filter)?;
        Ok(Snapshot { at: Instant::now(), live, closed: batch.flows, lost: batch.lost })
    }

    fn given(&self) -> &str {
        &self.given
    }
}
