//! What a runtime says by itself: that something has changed. What that is, is found out by looking.

use std::sync::Arc;

use tokio::{sync::Notify, task::JoinHandle};
use tracing::debug;

use super::{
    connection::Connection,
    v1::{ContainerEventResponse, GetEventsRequest},
};

/// The events of one connection. They end with it, or earlier (CRI-O has them switched off and ends them at once); from
/// then on there are no hints until the next connection, and the regular looks go on.
#[derive(Debug)]
pub(super) struct Events {
    task: JoinHandle<()>,
}

impl Events {
    /// Only where the runtime gives each subscriber all of them.
    pub(super) fn follow(connection: Connection, look_now: Arc<Notify>) -> Self {
        let task = tokio::spawn(async move {
            let method = "/runtime.v1.RuntimeService/GetContainerEvents";
            let mut events = match connection.follow(method, GetEventsRequest {}).await {
                Ok(events) => events,
                Err(fault) => return debug!("no events of the container runtime: {fault}"),
            };
            loop {
                match events.message().await {
                    Ok(Some(ContainerEventResponse { .. })) => look_now.notify_one(),
                    Ok(None) => return debug!("the container runtime has ended its events"),
                    Err(status) => return debug!("the container runtime's events: {status}"),
                }
            }
        });
        Self { task }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}
