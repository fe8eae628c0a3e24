//! What the BPF programs say, passed on to the log: aya-log's ring, pinned once for all workloads of the node.
//!
//! A ring has one reader. Two servers would take lines from each other: the first one has a lock, the other says so, and
//! reads once the first has ended.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use proxy_plane::dataplane::{Claim, LogRing};
use tokio::time::{MissedTickBehavior, interval};

/// How often the ring is looked into. Lines are rare, and an empty ring is told by two words of memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often whether it is still the node's: the last detach takes it away, the next attach makes another one.
const ASK_EVERY: Duration = Duration::from_secs(5);

type Logger = EbpfLogger<&'static dyn log::Log>;

/// The ring, once there is one and nobody else reads it.
#[derive(Default)]
pub(super) struct ProgramLog {
    ring: Option<(LogRing, Logger, Instant)>,
    /// That somebody else reads it has been said.
    said_taken: bool,
}

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
        if self.ring.is_none()
            && let Err(error) = self.claim()
        {
            tracing::debug!("no log of the BPF programs: {error:#}");
        }
        if let Some((ring, logger, asked)) = &mut self.ring {
            logger.flush();
            if asked.elapsed() >= ASK_EVERY {
                *asked = Instant::now();
                if !ring.is_current() {
                    self.ring = None;
                }
            }
        }
    }

    fn claim(&mut self) -> Result<()> {
        match LogRing::claim()? {
            Claim::Absent => {}
            Claim::Taken if self.said_taken => {}
            Claim::Taken => {
                self.said_taken = true;
                tracing::warn!(
                    "another process passes on what the BPF programs say: their lines are in its log, and come here \
                     once it has ended"
                );
            }
            Claim::Granted(ring) => {
                let logger = EbpfLogger::init_from_id(ring.program())
                    .context("open the ring of the BPF programs' log")?;
                if std::mem::take(&mut self.said_taken) {
                    tracing::warn!("what the BPF programs say comes here from now on");
                }
                self.ring = Some((ring, logger, Instant::now()));
            }
        }
        Ok(())
    }
}
