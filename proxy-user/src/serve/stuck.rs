//! Connections that are stuck, looked for between scrapes: to see that nothing moves takes two looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use proxy_plane::flows::{Filter, Reader, Stuck, Watch};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

/// Between two looks, at most; each walks all open connections.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// As often as it makes sense for a shorter span, but not more often.
const LEAST: Duration = Duration::from_millis(250);

/// By workload and by who should read. None: it was not looked yet, or could not be.
pub(super) type Counts = Option<BTreeMap<(String, Reader), u64>>;

/// What the last look has found.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Arc<Mutex<Counts>>);

impl Found {
    pub(super) fn get(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, counts: Counts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

/// Looks, for as long as it is polled.
pub(super) async fn follow(found: Found, after: Duration) -> Infallible {
    let mut watch = Watch::default();
    let mut look = interval((after / 4).clamp(LEAST, LOOK_EVERY));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let look = spawn_blocking(move || {
            let stuck = watch.look(after, &Filter::default());
            (watch, stuck)
        });
        // A panic is none of this task's doing, and begins anew.
        let (next, stuck) = look
            .await
            .context("look for what is stuck")
            .unwrap_or_else(|error| (Watch::default(), Err(error)));
        watch = next;
        found.set(counted(stuck));
    }
}

/// A connection counts once for each reader.
fn counted(stuck: Result<Vec<Stuck>>) -> Counts {
    let stuck =
        stuck.inspect_err(|error| tracing::debug!("nothing is known of what is stuck: {error:#}")).ok()?;
    let connections: BTreeSet<(String, Reader, u64)> =
        stuck.iter().map(|of| (of.flow.workload.to_string(), of.reader_is, of.flow.id)).collect();
    let mut counts = BTreeMap::new();
    for (workload, reader, _) in connections {
        *counts.entry((workload, reader)).or_default() += 1;
    }
    Some(counts)
}
