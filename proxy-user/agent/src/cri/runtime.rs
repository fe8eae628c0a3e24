//! The runtime of this node, there or not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tracing::{info, warn};

use super::{
    NetworkSetup, Snapshot,
    connection::{ANSWER, About, Connection, Fault},
    events::Events,
    place::{self, PLACES},
    round::Table,
    v1::{ListPodSandboxRequest, ListPodSandboxResponse, StatusRequest, StatusResponse},
};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A runtime that comes back after an hour is found again this soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Nobody has answered. Whoever asks again later finds the runtime when it is back.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the container runtime does not answer: {reason}")]
pub struct Away {
    reason: String,
}

impl Away {
    pub(super) fn new(reason: String) -> Self {
        Self { reason }
    }
}

/// The container runtime. It is connected to with the first question, and again after it was away.
#[derive(Debug)]
pub struct Runtime {
    places: Vec<PathBuf>,
    answer_within: Duration,
    connection: Option<Connection>,
    pause: Pause,
    table: Table,
    events: Option<Events>,
    look_now: Arc<Notify>,
}

impl Runtime {
    /// At this socket, or, where none is given, at the first of [`PLACES`] that answers. As kubelet's endpoint is written,
    /// `unix:///run/…`, or as a path.
    pub fn new(socket: Option<PathBuf>) -> Self {
        Self::at_first_of(match socket {
            Some(socket) => {
                vec![socket.strip_prefix("unix:").map(|path| Path::new("/").join(path)).unwrap_or(socket)]
            }
            None => PLACES.map(PathBuf::from).into(),
        })
    }

    /// At the first of these sockets that answers.
    pub fn at_first_of(places: Vec<PathBuf>) -> Self {
        Self {
            places,
            answer_within: ANSWER,
            connection: None,
            pause: Pause::default(),
            table: Table::default(),
            events: None,
            look_now: Arc::default(),
        }
    }

    /// With this deadline for each answer.
    pub fn answers_within(self, answer_within: Duration) -> Self {
        Self { answer_within, ..self }
    }

    /// Who has answered last; None while nobody does.
    pub fn about(&self) -> Option<&About> {
        self.connection.as_ref().map(|connection| &connection.about)
    }

    /// Is notified when something has changed, where the runtime tells that to everybody who asks. It is a hint: what
    /// has changed is seen by looking, and whoever misses it sees it at the next look.
    pub fn look_now(&self) -> Arc<Notify> {
        Arc::clone(&self.look_now)
    }

    /// All sandboxes. A sandbox is asked about once; its sidecar until there is one.
    pub async fn pods(&mut self) -> Result<Snapshot, Away> {
        let (connection, listed): (_, ListPodSandboxResponse) =
            self.ask("/runtime.v1.RuntimeService/ListPodSandbox", ListPodSandboxRequest {}).await?;
        let seen = self.table.look(&connection, &listed.items).await;
        seen.map_err(|fault| self.failed(&connection, &fault))
    }

    /// Where the runtime has its CNI configuration, and what of it it has loaded.
    pub async fn networks(&mut self) -> Result<NetworkSetup, Away> {
        let (_, status): (_, StatusResponse) =
            self.ask("/runtime.v1.RuntimeService/Status", StatusRequest { verbose: true }).await?;
        Ok(NetworkSetup::of(&status))
    }

    /// A question, on the connection there is. When that turns out to be gone, on another one.
    async fn ask<Q, A>(&mut self, method: &'static str, question: Q) -> Result<(Connection, A), Away>
    where
        Q: prost::Message + Clone + 'static,
        A: prost::Message + Default + 'static,
    {
        loop {
            let is_new = self.connection.is_none();
            let connection = self.connected().await?;
            match connection.ask(method, question.clone()).await {
                Ok(answer) => return Ok((connection, answer)),
                Err(Fault::Lost(reason)) if !is_new => {
                    info!("the connection to the container runtime is gone ({reason})");
                    self.disconnect();
                }
                Err(fault) => return Err(self.failed(&connection, &fault)),
            }
        }
    }

    async fn connected(&mut self) -> Result<Connection, Away> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        if let Some(away) = self.pause.holds() {
            return Err(away);
        }
        let connection = match place::connect(&self.places, self.answer_within).await {
            Ok(connection) => connection,
            Err(away) => {
                // Once for each reason, and not with each attempt.
                if self.pause.begin(away.clone()) {
                    warn!("{away}");
                }
                return Err(away);
            }
        };
        self.pause = Pause::default();
        let About { socket, name, version } = &connection.about;
        let events = connection.about.broadcasts_events();
        info!(socket = %socket.display(), name, version, events, "the container runtime answers");
        self.events = events.then(|| Events::follow(connection.clone(), self.look_now()));
        self.connection = Some(connection.clone());
        Ok(connection)
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.events = None;
    }

    fn failed(&mut self, connection: &Connection, fault: &Fault) -> Away {
        if !matches!(fault, Fault::Refused(..)) {
            self.disconnect();
        }
        Away::new(format!("{}: {fault}", connection.about.socket.display()))
    }
}

/// The time between two attempts to connect: whoever looks often does not knock as often.
#[derive(Default, Debug)]
struct Pause {
    length: Duration,
    after: Option<(Instant, Away)>,
}

impl Pause {
    /// The last attempt's outcome, while it is too early for another one.
    fn holds(&self) -> Option<Away> {
        let (since, away) = self.after.as_ref()?;
        (since.elapsed() < self.length).then(|| away.clone())
    }

    /// Longer each time. Says whether this outcome is another one than the last.
    fn begin(&mut self, away: Away) -> bool {
        self.length = (self.length * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let is_new = self.after.as_ref().is_none_or(|(_, last)| *last != away);
        self.after = Some((Instant::now(), away));
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let mut pause = Pause::default();
        assert_eq!(pause.holds(), None);
        let away = Away::new("gone".to_owned());
        assert!(pause.begin(away.clone()));
        assert_eq!(pause.holds(), Some(away.clone()));
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(pause.holds(), None);
        for _ in 0..10 {
            assert!(!pause.begin(away.clone()), "the same reason again");
        }
        tokio::time::advance(LONGEST_PAUSE - Duration::from_millis(1)).await;
        assert_eq!(pause.holds(), Some(away));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(pause.holds(), None);
    }
}
