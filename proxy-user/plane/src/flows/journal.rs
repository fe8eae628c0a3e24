//! The ring of closed flows. Writers wait for nobody; each reader has its own place in it and its own count of what was
//! overwritten before it came by.

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};
use aya::maps::MapData;
use proxy_common::{
    flow::{JOURNAL, JOURNAL_WORDS, JournalEntry, KEPT, Queues, journal_sum},
    workload::SLOTS,
};

use super::end::End;
use crate::{
    dataplane::{decode, is_observed, journal_pins, kept_pin},
    sys::bpf_mmap::Mapping,
};

const ENTRIES: u64 = JOURNAL as u64;
const WORDS: usize = size_of::<JournalEntry>() / 8;
/// Number and sum stand before the words that are summed.
const HEAD_WORDS: usize = WORDS - JOURNAL_WORDS;

/// Records of closed ends, ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Records {
    pub written: u64,
    /// The journal holds them no more.
    pub overwritten: u64,
}

/// How many records there were; none where nothing is observed.
pub fn records() -> Result<Records> {
    if !is_observed() {
        return Ok(Records::default());
    }
    let (head, _) = journal_pins()?;
    let written = count(&Mapping::new(head.fd().as_fd(), 8).context("map the journal")?);
    Ok(Records { written, overwritten: written.saturating_sub(ENTRIES) })
}

fn id(head: &MapData) -> Option<u32> {
    head.info().ok().map(|info| info.id())
}

/// The count at the head.
fn count(head: &Mapping) -> u64 {
    let mut word = [0];
    head.read(0, &mut word);
    word[0]
}

/// A place in the journal.
#[derive(Debug)]
pub(super) struct Reader {
    head: Mapping,
    entries: Mapping,
    /// The kernel's number of the journal.
    id: Option<u32>,
    /// The number of the next entry to read.
    next: u64,
    /// Entries that were gone before they could be read.
    pub(super) lost: u64,
}

impl Reader {
    /// `from_start`: with all that is still there; else what closes from now on.
    pub(super) fn open(from_start: bool) -> Result<Self> {
        let (head, entries) = journal_pins()?;
        let id = id(&head);
        let map = |data: &MapData, len| Mapping::new(data.fd().as_fd(), len).context("map the journal");
        let (head, entries) = (map(&head, 8)?, map(&entries, JOURNAL as usize * size_of::<JournalEntry>())?);
        let mut reader = Self { head, entries, id, next: 0, lost: 0 };
        let written = reader.written();
        // What was overwritten before somebody looked for the first time was not lost to him.
        reader.next = if from_start { (written + 1).saturating_sub(ENTRIES).max(1) } else { written + 1 };
        Ok(reader)
    }

    /// Whether it is still the node's: the last detach takes it away, the next attach makes another one.
    pub(super) fn is_current(&self) -> bool {
        self.id.is_some() && journal_pins().ok().and_then(|(head, _)| id(&head)) == self.id
    }

    /// Entries written so far, the last of them perhaps not completely.
    fn written(&self) -> u64 {
        count(&self.head)
    }

    /// Whether something has been written since the last [`Self::read`].
    pub(super) fn has_more(&self) -> bool {
        self.next <= self.written()
    }

    /// What has been written since the last call.
    pub(super) fn read(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        while self.has_more() {
            match self.entry(self.next) {
                Some(end) => ends.push(end),
                // Its writer is still at it.
                None if self.written() - self.next < ENTRIES => break,
                None => {
                    // A lap behind: what is gone is gone, go on with the oldest that is there.
                    let oldest = self.written() + 1 - ENTRIES;
                    self.lost += oldest - self.next;
                    self.next = oldest;
                    continue;
                }
            }
            self.next += 1;
        }
        ends
    }

    /// Of what the journal holds no more: each workload's last ends.
    pub(super) fn kept(&self) -> Result<Vec<End>> {
        // Without a lap all of them are still in the journal.
        let Some(gone) = self.written().checked_sub(ENTRIES) else { return Ok(Vec::new()) };
        let places = (SLOTS * KEPT) as usize;
        let kept = Mapping::new(kept_pin()?.fd().as_fd(), places * size_of::<JournalEntry>())
            .context("map the workloads' last closed flows")?;
        let entries = (0..places).filter_map(|at| entry(&kept, at));
        Ok(entries.filter(|(number, _)| (1..=gone).contains(number)).map(|(_, end)| end).collect())
    }

    /// The entry of this number; none: not complete, or another one has its place.
    fn entry(&self, number: u64) -> Option<End> {
        entry(&self.entries, (number % ENTRIES) as usize)
            .and_then(|(found, end)| (found == number).then_some(end))
    }
}

/// The complete entry at a place, with its number.
fn entry(entries: &Mapping, at: usize) -> Option<(u64, End)> {
    let mut words = [0u64; WORDS];
    entries.read(at * size_of::<JournalEntry>(), &mut words);
    let summed: &[u64; JOURNAL_WORDS] = words[HEAD_WORDS..].try_into().ok()?;
    let entry: JournalEntry = decode(&words)?;
    (entry.sum == journal_sum(entry.number, summed)).then(|| {
        (entry.number, End { record: entry.record, figures: entry.figures, queues: Queues::default() })
    })
}
