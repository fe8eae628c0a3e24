//! What is known of the sandboxes, and a look at what has changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    Sandbox, Snapshot, State, Unclear,
    connection::{Connection, Fault},
    sandbox, sidecar,
    v1::{
        ContainerFilter, ContainerStatusRequest, ContainerStatusResponse, ListContainersRequest,
        ListContainersResponse, PodSandbox, PodSandboxStatusRequest, PodSandboxStatusResponse,
    },
};
use crate::pod::{Network, Proxy, SandboxId};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// By sandbox: ids are never given twice, also not by a runtime that was started again.
#[derive(Default, Debug)]
pub(super) struct Table {
    entries: BTreeMap<SandboxId, Entry>,
}

#[derive(Debug)]
enum Entry {
    Read {
        sandbox: Box<Sandbox>,
        complained: bool,
    },
    /// What was answered could not be used: asked again after a while.
    Unread {
        reason: String,
        next: Instant,
        pause: Duration,
    },
}

/// One round of questions. A runtime that is late with one answer is not asked for more of them in the same round.
struct Round<'a> {
    connection: &'a Connection,
    late: bool,
}

impl Table {
    /// Asks about the sandboxes that are new in the list. Fails only when the connection does.
    pub(super) async fn look(
        &mut self,
        connection: &Connection,
        listed: &[PodSandbox],
    ) -> Result<Snapshot, Fault> {
        let ids: BTreeSet<SandboxId> = listed.iter().filter_map(sandbox::id).collect();
        self.entries.retain(|id, _| ids.contains(id));

        let mut round = Round { connection, late: false };
        let mut snapshot = Snapshot::default();
        let mut seen = BTreeSet::new();
        for row in listed {
            let state = sandbox::state(row);
            let Some(id) = sandbox::id(row) else {
                let reason = "its id is none".to_owned();
                snapshot.unclear.push(Unclear { sandbox: None, name: sandbox::label(row), reason });
                continue;
            };
            if !seen.insert(id.clone()) || (state == State::NotReady && !self.is_read(&id)) {
                continue;
            }
            match self.one(&mut round, &id, row).await? {
                Ok(sandbox) => snapshot.sandboxes.push(Sandbox { state, ..sandbox }),
                Err(reason) => {
                    snapshot.unclear.push(Unclear { sandbox: Some(id), name: sandbox::label(row), reason });
                }
            }
        }
        Ok(snapshot)
    }

    fn is_read(&self, id: &SandboxId) -> bool {
        matches!(self.entries.get(id), Some(Entry::Read { .. }))
    }

    async fn one(
        &mut self,
        round: &mut Round<'_>,
        id: &SandboxId,
        row: &PodSandbox,
    ) -> Result<Result<Sandbox, String>, Fault> {
        let last_pause = match self.entries.get(id) {
            Some(Entry::Unread { reason, next, .. }) if Instant::now() < *next => {
                return Ok(Err(reason.clone()));
            }
            Some(Entry::Unread { pause, .. }) => *pause,
            Some(Entry::Read { .. }) | None => Duration::ZERO,
        };
        if !self.is_read(id) {
            if round.late {
                return Ok(Err("the runtime is late; not asked yet".to_owned()));
            }
            match round.sandbox(id, row).await? {
                Ok(sandbox) => {
                    let read = Entry::Read { sandbox: Box::new(sandbox), complained: false };
                    self.entries.insert(id.clone(), read);
                }
                Err(reason) => {
                    debug!(sandbox = id.0, reason, "a sandbox that nothing can be said about");
                    let pause = (last_pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    let unread =
                        Entry::Unread { reason: reason.clone(), next: Instant::now() + pause, pause };
                    self.entries.insert(id.clone(), unread);
                    return Ok(Err(reason));
                }
            }
        }
        let Some(Entry::Read { sandbox, complained }) = self.entries.get_mut(id) else {
            return Ok(Err("not asked yet".to_owned()));
        };
        let pod = &mut sandbox.pod;
        let is_wanted = pod.proxy.is_none() && pod.network != Network::Host && sidecar::is_expected(pod);
        if is_wanted && sandbox::state(row) == State::Ready && !round.late {
            match round.sidecar(id).await? {
                Ok(proxy) => pod.proxy = proxy,
                Err(reason) if !*complained => {
                    warn!("the sidecar of {}: {reason}; its pod's annotations decide meanwhile", pod.name);
                    *complained = true;
                }
                Err(_) => {}
            }
        }
        Ok(Ok(sandbox.as_ref().clone()))
    }
}

impl Round<'_> {
    async fn sandbox(&mut self, id: &SandboxId, row: &PodSandbox) -> Result<Result<Sandbox, String>, Fault> {
        let question = PodSandboxStatusRequest { pod_sandbox_id: id.0.clone(), verbose: true };
        let answer: Result<PodSandboxStatusResponse, _> =
            self.ask("/runtime.v1.RuntimeService/PodSandboxStatus", question).await?;
        Ok(answer.and_then(|answer| sandbox::read(id, row, &answer)))
    }

    /// None: there is none yet.
    async fn sidecar(&mut self, id: &SandboxId) -> Result<Result<Option<Proxy>, String>, Fault> {
        let filter = Some(ContainerFilter { pod_sandbox_id: id.0.clone() });
        let listed: ListContainersResponse = match self
            .ask("/runtime.v1.RuntimeService/ListContainers", ListContainersRequest { filter })
            .await?
        {
            Ok(listed) => listed,
            Err(reason) => return Ok(Err(reason)),
        };
        let Some(container) = sidecar::among(&listed.containers, &id.0) else { return Ok(Ok(None)) };
        let question = ContainerStatusRequest { container_id: container.id.clone(), verbose: true };
        let answer: Result<ContainerStatusResponse, _> =
            self.ask("/runtime.v1.RuntimeService/ContainerStatus", question).await?;
        Ok(answer.and_then(|answer| sidecar::read(&answer)).map(Some))
    }

    /// A question whose answer concerns one pod alone, so that another pod's does not suffer from it.
    async fn ask<Q, A>(&mut self, method: &'static str, question: Q) -> Result<Result<A, String>, Fault>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        match self.connection.ask(method, question).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Fault::Lost(reason)) => Err(Fault::Lost(reason)),
            Err(fault @ Fault::Late(_)) => {
                self.late = true;
                Ok(Err(fault.to_string()))
            }
            Err(fault @ Fault::Refused(..)) => Ok(Err(fault.to_string())),
        }
    }
}
