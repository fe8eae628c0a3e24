//! What the BPF programs say, passed on to the log: aya-log's ring, pinned once for all workloads of the node.
//!
//! A ring has one reader. Two servers would take lines from each other: the first one has a lock on the node's pins.

use std::{convert::Infallible, time::Duration};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use proxy_plane::dataplane::LogRing;
use tokio::time::{MissedTickBehavior, interval};

/// How often the ring is looked into, and whether it is still the node's: the last detach takes it away, the next
/// attach makes another one. Lines are rare, and an empty ring is told by two words of memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Logger = EbpfLogger<&'static dyn log::Log>;

/// The ring, once there is one and nobody else reads it.
#[derive(Default)]
pub(super) struct ProgramLog(Option<(LogRing, Logger)>);

impl ProgramLog {
    /// Passes lines on, for as long as it is polled.
    pub(super) async fn follow(&mut self) -> Infallible {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            self.pass_on();
        }
    }

    /// What there is now; also what was said while nobody read.
    pub(super) fn pass_on(&mut self) {
        if self.0.is_none() {
            match claim() {
                Ok(claimed) => self.0 = claimed,
                Err(error) => tracing::debug!("no log of the BPF programs: {error:#}"),
            }
        }
        if let Some((ring, logger)) = &mut self.0 {
            logger.flush();
            if !ring.is_current() {
                self.0 = None;
            }
        }
    }
}

/// None: no workload, or another reader.
fn claim() -> Result<Option<(LogRing, Logger)>> {
    let Some(ring) = LogRing::claim()? else { return Ok(None) };
    let logger =
        EbpfLogger::init_from_id(ring.program()).context("open the ring of the BPF programs' log")?;
    Ok(Some((ring, logger)))
}
