//! What the workloads of flows are called.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proxy_common::names::map;

use super::end::{End, WorkloadId};
use crate::dataplane::{Meta, WorkloadPins};

/// A second attach may give a pod's name.
const KEPT: Duration = Duration::from_secs(10);

/// Looked up once each, and again after a while.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<WorkloadId, Name>,
    since: Option<Instant>,
}

/// Of one workload.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// As `sidestep status` names it.
    pub(super) workload: Arc<str>,
    /// None: nobody has said which pod it is, or it was detached meanwhile.
    pub(super) namespace: Option<Arc<str>>,
    pub(super) pod: Option<Arc<str>>,
}

impl Names {
    pub(super) fn of(&mut self, end: &End) -> Name {
        self.known.entry(end.workload_id()).or_insert_with(|| Name::look_up(end)).clone()
    }

    /// To be called now and then by who keeps them.
    pub(super) fn refresh(&mut self) {
        if self.since.is_none_or(|since| since.elapsed() > KEPT) {
            self.known.clear();
            self.since = Some(Instant::now());
        }
    }
}

impl Name {
    fn look_up(end: &End) -> Self {
        let workload = end.workload();
        let meta = WorkloadPins::parse(&workload).and_then(|pins| Meta::read(&pins.map(map::META)).ok());
        let pod = meta.and_then(|meta| meta.pod);
        Self {
            workload: workload.into(),
            namespace: pod.as_ref().map(|pod| pod.namespace.as_str().into()),
            pod: pod.map(|pod| pod.name.into()),
        }
    }
}
