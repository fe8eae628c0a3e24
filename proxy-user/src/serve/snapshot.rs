//! What the pins say at one moment: the one thing that metrics and page are made from.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use proxy_agent::{agent::Agent, report::Report};
use proxy_plane::{
    dataplane::{self, Gone, MapUsage, Programs, Run, WorkloadStatus},
    flows::{self, ClassTotals, Names, Records},
};

use super::{
    around::{Around, OfWorkload},
    floors::Floors,
    flow_log, stuck,
};

#[derive(Debug)]
pub struct Snapshot {
    pub workloads: Vec<WorkloadStatus>,
    /// Workloads whose namespaces are gone: what is left of them is nobody's any more.
    pub gone: usize,
    /// Workloads whose pins cannot be read, with the reason.
    pub unreadable: Vec<String>,
    /// How full the workloads' shares of maps are, in their order, and the node's maps.
    usages: Vec<Vec<MapUsage>>,
    node: Vec<MapUsage>,
    /// Runs of the node's programs.
    pub runs: Vec<Run>,
    /// Sums over flows, of observed workloads.
    pub totals: Vec<ClassTotals>,
    /// What the workloads and their sidecars have asked for, in their order; none: nobody looks.
    pub questions: Vec<Option<Names>>,
    /// What became of the records of closed ends.
    pub records: Records,
    /// Connections that were stuck at the last look.
    pub(super) stuck: stuck::Counts,
    /// Connections that went around the sidecar.
    pub(super) around: HashMap<String, OfWorkload>,
    /// What the flow log has written and lost; none: there is no flow log.
    pub(super) flow_log: Option<Arc<flow_log::Counts>>,
    /// What the agent knows, where this is the agent's server.
    pub agent: Option<Report>,
    /// How long the reading took.
    pub duration: Duration,
    taken: Instant,
}

/// Takes snapshots, one at a time: who asks while one is taken shares the next.
#[derive(Default)]
pub struct Reader {
    pub(super) besides: Besides,
    shown: Mutex<Shown>,
}

/// What is known from elsewhere than the pins, at any moment.
#[derive(Clone, Default)]
pub(super) struct Besides {
    pub(super) agent: Option<Arc<Agent>>,
    pub(super) stuck: stuck::Found,
    pub(super) around: Around,
    pub(super) flow_log: Option<Arc<flow_log::Counts>>,
}

#[derive(Debug, Default)]
struct Shown {
    last: Option<Arc<Snapshot>>,
    floors: Floors,
    counted: Option<(Instant, Vec<MapUsage>)>,
}

/// How often the maps that nobody counts are walked through.
const COUNT_EVERY: Duration = Duration::from_secs(60);

impl Reader {
    pub(super) fn of(besides: Besides) -> Self {
        Self { besides, shown: Mutex::default() }
    }

    /// A snapshot no older than this call.
    ///
    /// # Errors
    /// When the pins cannot be listed.
    pub fn read(&self) -> Result<Arc<Snapshot>> {
        let asked = Instant::now();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &shown.last {
            Some(snapshot) if snapshot.taken >= asked => Ok(Arc::clone(snapshot)),
            _ => {
                let mut snapshot = Snapshot::take(&self.besides)?;
                snapshot.node.extend(shown.counted()?);
                shown.floors.hold(&snapshot.workloads, &mut snapshot.totals);
                let snapshot = Arc::new(snapshot);
                shown.last = Some(Arc::clone(&snapshot));
                Ok(snapshot)
            }
        }
    }
}

impl Shown {
    /// Entries of maps, as they were at most so long ago.
    fn counted(&mut self) -> Result<Vec<MapUsage>> {
        let counted = match self.counted.take() {
            Some((at, counted)) if at.elapsed() < COUNT_EVERY => (at, counted),
            _ => (Instant::now(), MapUsage::counted()?),
        };
        Ok(self.counted.insert(counted).1.clone())
    }
}

impl Snapshot {
    fn take(besides: &Besides) -> Result<Self> {
        let taken = Instant::now();
        let (mut workloads, unreadable) = dataplane::status()?;
        let over = |workload: &mut WorkloadStatus| workload.gone.is_some_and(Gone::is_over);
        let gone = workloads.extract_if(.., over).count();
        let usages = MapUsage::of_workloads(workloads.iter().map(|workload| workload.meta.slot))?;
        let node = MapUsage::summed(&usages)?;
        let runs = Programs::loaded().of_node()?;
        let totals = flows::totals(&workloads)?;
        let questions = flows::questions(&workloads)?;
        let records = flows::records()?;
        let there: Vec<&str> = workloads.iter().map(|workload| workload.workload.as_str()).collect();
        let around = besides.around.of(&there);
        Ok(Self {
            workloads,
            gone,
            unreadable,
            usages,
            node,
            runs,
            totals,
            questions,
            records,
            stuck: besides.stuck.get(),
            around,
            flow_log: besides.flow_log.clone(),
            agent: besides.agent.as_deref().map(Agent::report),
            duration: taken.elapsed(),
            taken,
        })
    }

    /// Map usages with the labels of their owner.
    pub fn usages(&self) -> impl Iterator<Item = ([&str; 2], &MapUsage)> {
        let of_workloads = self.workloads.iter().map(names).zip(&self.usages);
        of_workloads
            .chain([(["", ""], &self.node)])
            .flat_map(|(owner, usages)| usages.iter().map(move |usage| (owner, usage)))
    }
}

/// The labels `workload` and `namespace`; the latter is empty unless the one who attached has said it.
pub fn names(workload: &WorkloadStatus) -> [&str; 2] {
    [&workload.workload, workload.meta.pod.as_ref().map_or("", |pod| &pod.namespace)]
}
