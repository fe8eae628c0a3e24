//! Says at once whose addresses, routes or interfaces have changed: decisions are made from them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use nix::libc;
use proxy_plane::netns::{Netns, changes};
use tokio::{
    net::UnixDatagram,
    sync::mpsc::{Receiver, Sender, channel},
    task::AbortHandle,
    time::sleep,
};

/// An address comes with its routes, each a message.
const SETTLE: Duration = Duration::from_millis(50);
/// More are told when those are through.
const WAITING: usize = 64;

/// A socket in each enrolled pod's network namespace.
pub(crate) struct NetworkWatch {
    by_workload: BTreeMap<String, AbortHandle>,
    tell: Sender<String>,
    told: Receiver<String>,
}

impl Default for NetworkWatch {
    fn default() -> Self {
        let (tell, told) = channel(WAITING);
        Self { by_workload: BTreeMap::new(), tell, told }
    }
}

impl NetworkWatch {
    /// These are there, and no others: workloads, and the paths of their namespaces. Returns those that are watched from now
    /// on: what has changed before, nobody has told.
    pub(crate) fn keep(&mut self, there: &BTreeMap<String, PathBuf>) -> BTreeSet<String> {
        self.by_workload.retain(|workload, task| {
            // It would keep a namespace that is gone for everybody else.
            let stays = there.contains_key(workload) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        let mut new = BTreeSet::new();
        for (workload, path) in there {
            if self.by_workload.contains_key(workload) {
                continue;
            }
            // Without it the workload is looked at once a minute.
            match watch(path) {
                Ok(changes) => {
                    let task = tokio::spawn(follow(changes, workload.clone(), self.tell.clone()));
                    self.by_workload.insert(workload.clone(), task.abort_handle());
                    new.insert(workload.clone());
                }
                Err(error) => tracing::debug!(workload, "its network is not watched: {error:#}"),
            }
        }
        new
    }

    /// Whose network has changed.
    pub(crate) async fn changed(&mut self) -> BTreeSet<String> {
        // The sender in `self` keeps it open.
        let mut all: BTreeSet<String> = self.told.recv().await.into_iter().collect();
        while let Ok(more) = self.told.try_recv() {
            all.insert(more);
        }
        all
    }
}

impl Drop for NetworkWatch {
    fn drop(&mut self) {
        for task in self.by_workload.values() {
            task.abort();
        }
    }
}

async fn follow(changes: UnixDatagram, workload: String, tell: Sender<String>) {
    loop {
        let read = match changes.readable().await {
            Ok(()) => {
                sleep(SETTLE).await;
                drain(&changes)
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(true) if tell.send(workload.clone()).await.is_err() => return,
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(workload, "its network is watched no more: {error}");
                return;
            }
        }
    }
}

/// True: something has been told, perhaps more than the socket could keep.
fn drain(changes: &UnixDatagram) -> io::Result<bool> {
    // What has changed is read afresh: of a message only that it came is of interest.
    let mut beginning = [0; 16];
    let mut any = false;
    loop {
        match changes.try_recv(&mut beginning) {
            Ok(_) => any = true,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
            Err(error) => return Err(error),
        }
    }
}

/// To read, netlink is a socket of datagrams like others.
fn watch(path: &Path) -> Result<UnixDatagram> {
    let socket = changes(&Netns::open(path)?)?;
    Ok(UnixDatagram::from_std(socket.into())?)
}
