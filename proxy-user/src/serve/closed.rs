//! What closes on the node, followed for as long as the server runs: connections around the sidecar are counted, and the
//! flow log gets its records.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use proxy_plane::flows::Journal;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{
    around::Around,
    flow_log::{Counts, FlowLog, Log},
};

/// The journal has room for what closes meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// And so often where there is nothing to follow yet.
const LOOK_FOR_ONE_EVERY: Duration = Duration::from_secs(1);

/// And so often where nothing has closed: what is followed may be gone, and another one there, which is read from its start.
const LOOK_ANYWAY_EVERY: Duration = Duration::from_secs(5);

/// Follows, and hands on.
#[derive(Clone)]
pub(super) struct Closed(Arc<Mutex<State>>);

struct State {
    journal: Option<Journal>,
    looked: Instant,
    /// There was nothing to follow at the first look, or what was followed is gone: what comes is new from its start.
    from_start: bool,
    /// Of the journal's, handed on.
    lost: u64,
    around: Around,
    log: Option<Log>,
}

impl Closed {
    pub(super) fn new(around: Around, log: Option<&FlowLog>, counts: &Arc<Counts>) -> Result<Self> {
        let log = log.map(|options| Log::start(options, Arc::clone(counts))).transpose()?;
        let mut state =
            State { journal: None, looked: Instant::now(), from_start: false, lost: 0, around, log };
        // What closes once the server says that it is ready is not missed.
        state.look(false);
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    /// Looks, for as long as it is polled.
    pub(super) async fn follow(&self) -> Infallible {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.is_due() {
                self.with(|state| state.look(false)).await;
            }
        }
    }

    /// A look costs an idle node more than all else that it does here.
    fn is_due(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_due()
    }

    /// The last look; then the log has so long to be written.
    pub(super) async fn finish(&self, within: Duration) {
        self.with(move |state| {
            state.look(true);
            if let Some(log) = state.log.take() {
                log.finish(within);
            }
        })
        .await;
    }

    async fn with(&self, work: impl FnOnce(&mut State) + Send + 'static) {
        let state = Arc::clone(&self.0);
        let done =
            spawn_blocking(move || work(&mut state.lock().unwrap_or_else(PoisonError::into_inner))).await;
        if let Err(error) = done {
            tracing::warn!("what closes is not followed: {error}");
        }
    }
}

impl State {
    fn is_due(&self) -> bool {
        let every = if self.journal.is_some() { LOOK_ANYWAY_EVERY } else { LOOK_FOR_ONE_EVERY };
        self.looked.elapsed() >= every || self.journal.as_ref().is_some_and(Journal::has_more)
    }

    fn look(&mut self, last: bool) {
        self.looked = Instant::now();
        if let Err(error) = self.read(last) {
            // Somebody detaches; the next look opens what is there then.
            tracing::debug!("what closes cannot be read: {error:#}");
            self.close();
        }
        if let Some(log) = &mut self.log
            && let Err(error) = log.lasting()
        {
            tracing::debug!("flow log: the open connections cannot be read: {error:#}");
        }
    }

    fn read(&mut self, last: bool) -> Result<()> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => match Journal::open(self.from_start) {
                Ok(journal) => self.journal.insert(journal),
                // Nothing is observed.
                Err(_) => {
                    self.from_start = true;
                    return Ok(());
                }
            },
        };
        let is_over = !journal.is_current();
        let batch = if last || is_over { journal.drain() } else { journal.read() }?;
        self.around.count(&batch.flows);
        if let Some(log) = &mut self.log {
            log.ended(&batch.flows);
            log.missed(batch.lost - self.lost);
        }
        self.lost = batch.lost;
        if is_over {
            self.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        (self.journal, self.from_start, self.lost) = (None, true, 0);
    }
}
