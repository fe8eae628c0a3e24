//! Following: flows as they close, both ends of each.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    end::{End, EndKey},
    flow::Flow,
    join,
    journal::Reader,
    list,
    names::Names,
};
use crate::clock::Clock;

/// The other end of a connection closes a moment later; its process may take longer to let go of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// Closed flows, each once.
pub struct Journal {
    reader: Reader,
    /// Ends whose other end is still to come.
    waiting: Vec<(Instant, End)>,
    told: Told,
    names: Names,
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
        Ok(Self {
            reader: Reader::open(from_start)?,
            waiting: Vec::new(),
            told: Told::default(),
            names: Names::default(),
        })
    }

    /// What has closed since the last call. Never waits: call again. A flow comes when both its ends have closed; if
    /// the other one stays open, or is not known here though it could be, a moment after that.
    pub fn read(&mut self) -> Result<Batch> {
        self.next(false)
    }

    /// The same, and what would be waited for.
    pub fn drain(&mut self) -> Result<Batch> {
        self.next(true)
    }

    /// Whether it is still the node's journal. One that is not has nothing more to come.
    pub fn is_current(&self) -> bool {
        self.reader.is_current()
    }

    /// Whether there is something to read or to wait for. Costs a look into memory.
    pub fn has_more(&self) -> bool {
        !self.waiting.is_empty() || self.reader.has_more()
    }

    fn next(&mut self, all: bool) -> Result<Batch> {
        let now = Instant::now();
        for end in self.reader.read() {
            // The late second end of a flow that was told with the first.
            if !self.told.closed(&end.key()) {
                self.waiting.push((now, end));
            }
        }
        let known = join::known(self.waiting.iter().map(|(_, end)| *end));
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(since, end)| {
                all || !end.has_other_here()
                    || known.contains_key(&end.key().reversed())
                    || now - *since > PATIENCE
            });
        self.waiting = waiting;
        let mut complete = join::known(ready.iter().map(|(_, end)| *end));
        let is_lonely = |end: &&End| end.has_other_here() && !complete.contains_key(&end.key().reversed());
        let lonely: Vec<End> = complete.values().filter(is_lonely).copied().collect();
        if !lonely.is_empty() {
            // Their other ends may still be open.
            let wanted: HashMap<EndKey, End> =
                lonely.into_iter().map(|end| (end.key().reversed(), end)).collect();
            self.told.begin_look();
            list::each_live(|other| {
                self.told.saw(&other.key());
                if let Some(end) = wanted.get(&other.key()) {
                    self.told.add(other.key());
                    complete.insert(other.key(), ended(other, end));
                }
            })?;
            // They may have closed while the live ones were read.
            for end in self.reader.read() {
                let was_told = self.told.closed(&end.key());
                if wanted.contains_key(&end.key()) {
                    complete.insert(end.key(), end);
                } else if !was_told {
                    self.waiting.push((now, end));
                }
            }
            self.told.forget_unseen();
        }
        let clock = Clock::now()?;
        self.names.refresh();
        let mut flows = Vec::new();
        for end in complete.values() {
            flows.extend(join::flow_at(end, &complete, clock, &mut self.names));
        }
        flows.sort_by_key(|flow| flow.times.close);
        Ok(Batch { flows, lost: self.reader.lost })
    }
}

/// Ends that belong to flows handed out already, and are still open: their own records are no flows of their own. One whose
/// record was overwritten before it was read never closes here: it goes when it has not been seen open for two looks. (For
/// one, its record may be half written.)
#[derive(Debug, Default)]
struct Told(HashMap<EndKey, u8>);

impl Told {
    const LOOKS: u8 = 2;

    fn add(&mut self, end: EndKey) {
        self.0.insert(end, 0);
    }

    /// Its record is here: whether it was told already.
    fn closed(&mut self, end: &EndKey) -> bool {
        self.0.remove(end).is_some()
    }

    fn begin_look(&mut self) {
        self.0.values_mut().for_each(|unseen| *unseen += 1);
    }

    fn saw(&mut self, end: &EndKey) {
        if let Some(unseen) = self.0.get_mut(end) {
            *unseen = 0;
        }
    }

    fn forget_unseen(&mut self) {
        self.0.retain(|_, unseen| *unseen < Self::LOOKS);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::end::tests::pair;

    fn look(told: &mut Told, open: &[EndKey]) {
        told.begin_look();
        open.iter().for_each(|end| told.saw(end));
        told.forget_unseen();
    }

    #[test]
    fn an_end_is_told_for_as_long_as_it_is_open() {
        let (end, mut told) = (pair().0.key(), Told::default());
        told.add(end);
        for _ in 0..5 {
            look(&mut told, &[end]);
        }
        assert!(told.closed(&end));
        assert!(!told.closed(&end), "once");
    }

    /// Its record was overwritten before it was read.
    #[test]
    fn an_end_that_is_gone_without_a_record_is_forgotten() {
        let (end, mut told) = (pair().0.key(), Told::default());
        told.add(end);
        look(&mut told, &[]);
        assert_eq!(told.0.len(), 1, "its record may come yet");
        look(&mut told, &[]);
        assert!(told.0.is_empty());
    }
}
