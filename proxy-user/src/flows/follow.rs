//! Following: flows as they close, both ends of each.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    clock::Clock,
    end::{End, EndKey},
    flow::Flow,
    join::{self, Known, Names},
    journal::Reader,
    list,
};

/// The other end of a connection closes a moment later; its process may take longer to let go of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Closed flows, each once.
pub struct Journal {
    reader: Reader,
    /// Ends whose other end is still to come.
    waiting: Vec<(Instant, End)>,
    /// Ends that belong to flows handed out already, whose other end came late.
    told: Known,
}

/// What has closed since the last call.
#[derive(Debug, Default)]
pub struct Batch {
    pub flows: Vec<Flow>,
    /// Records overwritten before they were read, since the journal was opened. A flow has one or two.
    pub lost: u64,
}

impl Journal {
    /// `from_start`: with those that closed lately; else from now on.
    pub fn open(from_start: bool) -> Result<Self> {
        Ok(Self { reader: Reader::open(from_start)?, waiting: Vec::new(), told: Known::new() })
    }

    /// What has closed since the last call. Never waits: call again. A flow comes when both its ends have closed; if
    /// only one is known here, or the other stays open, a moment after that.
    pub fn read(&mut self) -> Result<Batch> {
        self.next(false)
    }

    /// The same, and what would be waited for.
    pub fn drain(&mut self) -> Result<Batch> {
        self.next(true)
    }

    fn next(&mut self, all: bool) -> Result<Batch> {
        let now = Instant::now();
        for end in self.reader.read() {
            // The late second end of a flow that was told with the first.
            if self.told.remove(&end.key()).is_none() {
                self.waiting.push((now, end));
            }
        }
        let known = join::known(self.waiting.iter().map(|(_, end)| *end));
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(since, end)| {
                all || known.contains_key(&end.key().reversed()) || now - *since > PATIENCE
            });
        self.waiting = waiting;
        let mut complete = join::known(ready.iter().map(|(_, end)| *end));
        let lonely: Vec<End> =
            complete.values().filter(|end| !complete.contains_key(&end.key().reversed())).copied().collect();
        if !lonely.is_empty() {
            // Their other ends may still be open.
            let wanted: HashMap<EndKey, End> =
                lonely.into_iter().map(|end| (end.key().reversed(), end)).collect();
            list::each_live(|other| {
                if let Some(end) = wanted.get(&other.key()) {
                    self.told.insert(other.key(), *other);
                    complete.insert(other.key(), ended(other, end));
                }
            })?;
            // They may have closed while the live ones were read.
            for end in self.reader.read() {
                let was_told = self.told.remove(&end.key()).is_some();
                if wanted.contains_key(&end.key()) {
                    complete.insert(end.key(), end);
                } else if !was_told {
                    self.waiting.push((now, end));
                }
            }
        }
        let clock = Clock::now()?;
        let mut names = Names::default();
        let mut flows = Vec::new();
        for end in complete.values() {
            flows.extend(join::flow_at(end, &complete, clock, &mut names));
        }
        flows.sort_by_key(|flow| flow.times.close);
        Ok(Batch { flows, lost: self.reader.lost })
    }
}

/// An end that is still open though the other one has closed: with that one's close, for a flow that is over.
fn ended(open: &End, closed: &End) -> End {
    let mut end = *open;
    if end.record.close == 0 {
        end.record.close = closed.record.close;
        end.record.closed_at = closed.record.closed_at;
    }
    end
}
