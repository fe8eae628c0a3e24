//! Stopping in order: first no new connections, then no connections.

use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Cutoff,
}

/// Moves all watchers on.
pub(super) struct Handle(watch::Sender<Phase>);

/// Held by every task of the relay.
#[derive(Clone)]
pub(super) struct Watcher(watch::Receiver<Phase>);

pub(super) fn channel() -> (Handle, Watcher) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Handle(sender), Watcher(receiver))
}

impl Handle {
    /// Listeners close; open connections go on.
    pub(super) fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }

    /// Open connections are closed.
    pub(super) fn cut_off(&self) {
        self.0.send_replace(Phase::Cutoff);
    }
}

impl Watcher {
    /// Resolves once draining has begun.
    pub(super) async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Resolves once draining is over.
    pub(super) async fn cutoff(&mut self) {
        self.reached(Phase::Cutoff).await;
    }

    async fn reached(&mut self, phase: Phase) {
        // An error means that the handle is gone, and with it the relay.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
