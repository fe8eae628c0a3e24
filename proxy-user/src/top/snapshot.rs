//! What is looked at.

use std::time::Instant;

use anyhow::Result;
use proxy_plane::flows::Flow;

/// The flows at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: Instant,
    pub live: Vec<Flow>,
    /// Closed since the snapshot before, or a while ago in the first one.
    pub closed: Vec<Flow>,
    /// Records of closed flows that were overwritten before they could be read.
    pub lost: u64,
}

/// Where snapshots come from.
pub trait Source {
    fn snapshot(&mut self) -> Result<Snapshot>;

    /// What it leaves out, in the words of the command line; empty: nothing.
    fn given(&self) -> &str;
}
