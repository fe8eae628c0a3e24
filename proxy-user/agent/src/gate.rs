//! The socket at which the CNI plugin asks: root's alone. A runtime starts a plugin for each pod, so that a question is one
//! connection.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use proxy_cni::wire::{Answer, LONGEST, Request};
use proxy_core::exit::{Class, Failure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::Semaphore,
    time::timeout,
};

use crate::{agent::Agent, private_socket::PrivateSocket};

/// A plugin writes what it has at once.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// Pods that are set up at the same time; more wait.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(100);

/// Bound.
pub struct Gate(PrivateSocket);

impl Gate {
    /// # Errors
    /// When somebody else listens there.
    pub fn bind(path: &Path) -> Result<Self> {
        PrivateSocket::bind(path).map(Self).map_err(|error| {
            Failure::error(
                Class::Unavailable,
                format!("listen on {}: {error}; choose another path with --cni-socket", path.display()),
            )
        })
    }

    /// Answers until it is dropped.
    pub async fn serve(&self, agent: Arc<Agent>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.0.accept().await {
                Ok(stream) => {
                    let agent = agent.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, agent).await {
                            tracing::warn!("a question of the CNI plugin: {error:#}");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("the CNI plugin cannot ask: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer(mut stream: UnixStream, agent: Arc<Agent>) -> Result<()> {
    // The mode says so already, unless somebody has changed it.
    let peer = stream.peer_cred().context("who asks")?;
    ensure!(peer.uid() == 0, "user {} asks: only root may", peer.uid());
    let request = timeout(READ_WITHIN, read(&mut stream)).await.context("it did not end")??;
    let answer = tokio::task::spawn_blocking(move || agent.ask(&request)).await.context("answer")?;
    stream.write_all(&serde_json::to_vec(&answer)?).await.context("write the answer")?;
    stream.shutdown().await.context("end the answer")
}

async fn read(stream: &mut UnixStream) -> Result<Request> {
    let mut text = Vec::new();
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    stream.take(most + 1).read_to_end(&mut text).await.context("read it")?;
    ensure!(text.len() <= LONGEST, "it is longer than {LONGEST} bytes");
    match serde_json::from_slice(&text) {
        Ok(request) => Ok(request),
        Err(error) => {
            let message =
                format!("the agent does not understand this plugin: {error}; install the same version");
            let _ = stream.write_all(&serde_json::to_vec(&Answer::Failed { message })?).await;
            Err(error).context("read it")
        }
    }
}
