//! The flow log: a JSON record of each connection when it has ended, and of one that lasts now and then.
//!
//! What closes is read from the kernel's journal, which waits for nobody; a thread writes, and what it cannot write in time
//! is counted and left out. Neither holds up the server.

mod files;
mod options;
mod record;
mod writer;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use proxy_plane::flows::{self, Flow};

pub use self::options::{FlowLog, Target};
pub(super) use self::writer::{Counts, Lost};
use self::{record::Records, writer::Writer};

/// What is to be written, and who writes it.
#[derive(Debug)]
pub(super) struct Log {
    records: Records,
    every: Option<Duration>,
    /// When those that last were written.
    before: Instant,
    writer: Writer,
}

impl Log {
    pub(super) fn start(options: &FlowLog, counts: Arc<Counts>) -> Result<Self> {
        Ok(Self {
            records: Records::of(options.sample),
            every: options.every,
            before: Instant::now(),
            writer: Writer::start(options, counts)?,
        })
    }

    /// Connections that have ended.
    pub(super) fn ended(&mut self, flows: &[Flow]) {
        self.write("end", flows);
    }

    /// So many records of ends were overwritten before anybody read them.
    pub(super) fn missed(&self, records: u64) {
        self.writer.missed(records);
    }

    /// To be called again and again.
    ///
    /// # Errors
    /// When the open connections cannot be read.
    pub(super) fn lasting(&mut self) -> Result<()> {
        let Some(every) = self.every.filter(|every| self.before.elapsed() >= *every) else { return Ok(()) };
        self.before = Instant::now();
        self.write("interval", &flows::lasting(every)?);
        Ok(())
    }

    /// Waits until all is written, but not longer than so.
    pub(super) fn finish(self, within: Duration) {
        self.writer.finish(within);
    }

    fn write(&mut self, kind: &'static str, flows: &[Flow]) {
        for some in flows.chunks(BATCH) {
            let (lines, count) = self.records.lines(kind, some);
            self.writer.send(lines, count);
        }
    }
}

/// Records that are written, or lost, together.
const BATCH: usize = 256;
