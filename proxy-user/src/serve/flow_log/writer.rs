//! The thread that writes. It may hang for as long as a disk does: nobody waits for it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use proxy_plane::flows::SCHEMA;
use serde_json::json;

use super::{
    files::Files,
    options::{FlowLog, Target},
};

/// Bytes of records that may wait to be written.
const QUEUE: usize = 16 << 20;
/// Between two complaints.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Records since the start.
#[derive(Debug, Default)]
pub(in crate::serve) struct Counts {
    written: AtomicU64,
    overwritten: AtomicU64,
    queue_full: AtomicU64,
    write_failed: AtomicU64,
}

/// Why records were lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::serve) enum Lost {
    Overwritten,
    QueueFull,
    WriteFailed,
}

impl Lost {
    pub(in crate::serve) const ALL: [Self; 3] = [Self::Overwritten, Self::QueueFull, Self::WriteFailed];

    pub(in crate::serve) const fn name(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten",
            Self::QueueFull => "queue_full",
            Self::WriteFailed => "write_failed",
        }
    }

    pub(in crate::serve) const fn describe(self) -> &'static str {
        match self {
            Self::Overwritten => "overwritten in the kernel's journal before they were read, those of ends",
            Self::QueueFull => "what is to be written had no place any more: the disk is too slow, or hangs",
            Self::WriteFailed => "they could not be written; the log has the reason",
        }
    }
}

impl Counts {
    pub(in crate::serve) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    pub(in crate::serve) fn lost(&self, why: Lost) -> u64 {
        self.counter(why).load(Relaxed)
    }

    fn lose(&self, why: Lost, records: u64) {
        self.counter(why).fetch_add(records, Relaxed);
    }

    const fn counter(&self, why: Lost) -> &AtomicU64 {
        match why {
            Lost::Overwritten => &self.overwritten,
            Lost::QueueFull => &self.queue_full,
            Lost::WriteFailed => &self.write_failed,
        }
    }

    fn all_lost(&self) -> u64 {
        Lost::ALL.iter().map(|why| self.lost(*why)).sum()
    }
}

struct Lines {
    text: Vec<u8>,
    records: u64,
}

/// The queue's end of who has something to write.
#[derive(Debug)]
pub(super) struct Writer {
    queue: Sender<Lines>,
    waiting: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    done: Receiver<()>,
}

impl Writer {
    pub(super) fn start(options: &FlowLog, counts: Arc<Counts>) -> Result<Self> {
        let (queue, lines) = channel();
        let (say, done) = channel();
        let waiting = Arc::<AtomicUsize>::default();
        let mut at_work = AtWork {
            to: options.to.clone(),
            sink: match &options.to {
                Target::Stream(_, open) => Sink::Stream(open()),
                Target::File(path) => Sink::Files(Files::new(path, options.size, options.files)),
            },
            sample: options.sample,
            waiting: Arc::clone(&waiting),
            counts: Arc::clone(&counts),
            told: 0,
            complained: None,
        };
        let work = move || {
            at_work.write_all(&lines);
            let _ = say.send(());
        };
        thread::Builder::new()
            .name("flow-log".to_owned())
            .spawn(work)
            .context("start the flow log's thread")?;
        Ok(Self { queue, waiting, counts, done })
    }

    /// Hands lines over, or counts them as lost.
    pub(super) fn send(&self, text: Vec<u8>, records: u64) {
        if records == 0 {
            return;
        }
        let size = text.len();
        if self.waiting.load(Relaxed) + size > QUEUE {
            return self.counts.lose(Lost::QueueFull, records);
        }
        self.waiting.fetch_add(size, Relaxed);
        // The thread ends only after this end has gone.
        let _ = self.queue.send(Lines { text, records });
    }

    pub(super) fn missed(&self, records: u64) {
        self.counts.lose(Lost::Overwritten, records);
    }

    pub(super) fn finish(self, within: Duration) {
        let Self { queue, done, .. } = self;
        drop(queue);
        if done.recv_timeout(within).is_err() {
            tracing::warn!("flow log: not all records were written within {} s", within.as_secs());
        }
    }
}

enum Sink {
    Files(Files),
    Stream(Box<dyn io::Write + Send>),
}

struct AtWork {
    to: Target,
    sink: Sink,
    sample: u64,
    waiting: Arc<AtomicUsize>,
    counts: Arc<Counts>,
    /// Lost ones that the log tells of.
    told: u64,
    complained: Option<Instant>,
}

impl AtWork {
    fn write_all(&mut self, lines: &Receiver<Lines>) {
        for Lines { mut text, records } in lines {
            self.waiting.fetch_sub(text.len(), Relaxed);
            let lost = self.counts.all_lost();
            if lost > self.told {
                text.splice(..0, self.losses().into_bytes());
            }
            match self.write(&text) {
                Ok(()) => {
                    self.told = lost;
                    self.counts.written.fetch_add(records, Relaxed);
                }
                Err(error) => {
                    self.counts.lose(Lost::WriteFailed, records);
                    self.complain(&error);
                }
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            Sink::Files(files) => files.write(lines),
            Sink::Stream(out) => out.write_all(lines).and_then(|()| out.flush()),
        }
    }

    /// A record of what is missing, since the start.
    fn losses(&self) -> String {
        let [overwritten, queue_full, write_failed] = Lost::ALL.map(|why| self.counts.lost(why));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let node = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        let lost =
            json!({ "overwritten": overwritten, "queue_full": queue_full, "write_failed": write_failed });
        let record = json!({
            "schema": SCHEMA, "record": "lost", "node": node.unwrap_or_default(), "sample": self.sample,
            "time": u64::try_from(now.as_micros()).unwrap_or(u64::MAX), "lost_total": lost,
        });
        format!("{record}\n")
    }

    fn complain(&mut self, error: &io::Error) {
        if self.complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        self.complained = Some(Instant::now());
        let lost = self.counts.lost(Lost::WriteFailed);
        let to = &self.to;
        tracing::warn!(
            "flow log: {to}: {error}; {lost} records were not written so far; make room, or name another file with \
             --flow-log"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn options(path: &Path) -> FlowLog {
        FlowLog { to: Target::File(path.to_owned()), size: 1 << 20, files: 2, sample: 1, every: None }
    }

    const WITHIN: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_lost_is_counted_and_told_before_what_comes_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flows");
        let counts = Arc::new(Counts::default());
        let writer = Writer::start(&options(&path), Arc::clone(&counts)).unwrap();
        writer.send(b"one\n".to_vec(), 1);
        writer.missed(3);
        writer.send(vec![b'x'; QUEUE + 1], 7);
        writer.finish(WITHIN);
        // Whether the first line was written before or after the losses is the thread's.
        let writer = Writer::start(&options(&path), Arc::clone(&counts)).unwrap();
        writer.send(b"two\n".to_vec(), 1);
        writer.finish(WITHIN);
        assert_eq!(
            (counts.written(), counts.lost(Lost::Overwritten), counts.lost(Lost::QueueFull)),
            (2, 3, 7)
        );
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, told) = text.rsplit_once("{\"lost_total\"").map_or(("", ""), |(a, b)| (a, b));
        assert!(before.contains("one\n"), "{text}");
        assert!(told.contains("\"overwritten\":3") && told.ends_with("two\n"), "{text}");
    }

    #[test]
    fn a_disk_that_is_full_loses_records_and_nothing_else() {
        let counts = Arc::new(Counts::default());
        let writer = Writer::start(&options(Path::new("/dev/full")), Arc::clone(&counts)).unwrap();
        writer.send(b"one\n".to_vec(), 1);
        writer.send(b"two\nthree\n".to_vec(), 2);
        writer.finish(WITHIN);
        assert_eq!((counts.written(), counts.lost(Lost::WriteFailed)), (0, 3));
    }
}
