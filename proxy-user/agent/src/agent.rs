//! The agent: what it knows of the node's pods, and what it does for them. Everything that changes the kernel takes turns
//! here; what takes long (waiting for a runtime, for a plugin) is elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use proxy_cni::wire::{Answer, Command, Request};
use proxy_plane::dataplane::{AttachOptions, Node, Sandbox, SharedHold, WorkloadPins, prune};

use crate::{
    cgroup_of::Cgroups,
    decide::{Decision, Wish, decide},
    enrolled::Enrolled,
    place::Place,
    plan::{Action, Actual, Desired, Wanted, plan},
    pod::{Complete, Network, Pod, SandboxId},
    report::{Counts, PodReport, Report, State as PodState},
    told,
    values::Values,
};

/// A runtime lists a sandbox when all plugins are through; kubelet gives up after two minutes.
const SET_UP_WITHIN: Duration = Duration::from_secs(240);
/// Between two looks at what is pinned, beyond the names.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// See the module.
pub struct Agent {
    node: Node,
    cgroups: Cgroups,
    /// A container runtime lists the pods.
    has_runtime: bool,
    known: Mutex<Known>,
    /// What pods share stays while there are none.
    _held: SharedHold,
}

struct Known {
    values: Values,
    pods: BTreeMap<SandboxId, KnownPod>,
    enrolled: Enrolled,
    looked_closely: Instant,
    /// Who has told all pods of the node at least once.
    complete: Complete,
    counts: Counts,
}

struct KnownPod {
    pod: Pod,
    decision: Decision,
    /// Since when a plugin has said it, unless a list has it by now.
    set_up_since: Option<Instant>,
    trouble: Option<Trouble>,
}

/// It is to be enrolled, and could not be.
struct Trouble {
    message: String,
    wait: Duration,
    next: Instant,
}

impl Agent {
    /// Reads what is there. Nothing is changed, but for what is left of pods that are gone.
    pub fn open(values: Values, cgroups: Cgroups, has_runtime: bool) -> Result<Self> {
        let node = Node::open()?;
        let held = node.hold()?;
        for gone in prune()? {
            tracing::info!(workload = gone.name(), "removed: its network namespace is gone");
        }
        let known = Known {
            values,
            pods: BTreeMap::new(),
            enrolled: Enrolled::read().context("read what is enrolled")?,
            looked_closely: Instant::now(),
            complete: Complete::default(),
            counts: Counts::default(),
        };
        Ok(Self { node, cgroups, has_runtime, known: Mutex::new(known), _held: held })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What a panic has left is looked at again by the next reconcile.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the CNI plugin.
    pub fn ask(&self, request: &Request) -> Answer {
        let done = match request.command {
            Command::Add => self.add(request),
            Command::Del => self.del(request),
        };
        done.unwrap_or_else(|error| {
            let message = format!("{error:#}");
            tracing::warn!(sandbox = %request.container_id.escape_default(), "{message}");
            self.known().counts.failed += 1;
            Answer::Failed { message }
        })
    }

    fn add(&self, request: &Request) -> Result<Answer> {
        let pod = told::pod(request)?;
        let mut known = self.known();
        if request.annotations.is_none() {
            known.counts.untold += 1;
            let reason = "the runtime does not pass annotations: it is decided when the runtime lists it";
            return Ok(Answer::LeftAlone { reason: reason.to_owned() });
        }
        let decision = decide(&pod, &known.values);
        let answer = match &decision {
            Decision::Leave(reason) => Answer::LeftAlone { reason: reason.to_string() },
            Decision::Refuse(faults) => anyhow::bail!("{}: {faults}", pod.name),
            Decision::Enrol(wish) => {
                self.enrol(&mut known, &pod, wish, true).with_context(|| pod.name.to_string())?;
                known.counts.enrolled_at_add += 1;
                Answer::Enrolled
            }
        };
        let set_up_since = Some(Instant::now());
        known.pods.insert(pod.sandbox.clone(), KnownPod { pod, decision, set_up_since, trouble: None });
        Ok(answer)
    }

    fn del(&self, request: &Request) -> Result<Answer> {
        let sandbox = told::sandbox(&request.container_id)?;
        let mut known = self.known();
        known.pods.remove(&sandbox);
        while let Some((workload, _)) = known.enrolled.of(&sandbox) {
            let workload = workload.clone();
            self.release(&mut known, &workload)?;
        }
        Ok(Answer::Released)
    }

    fn enrol(&self, known: &mut Known, pod: &Pod, wish: &Wish, may_make: bool) -> Result<()> {
        let place = Place::open(pod, &self.cgroups, may_make)?;
        refuse_anothers(known, pod, &place)?;
        let options = AttachOptions {
            config: wish.config.clone(),
            acceleration: wish.acceleration.clone(),
            observe: wish.observe,
            pod: Some(pod.name.clone()),
            sandbox: Some(Sandbox { id: pod.sandbox.0.clone(), pod_uid: pod.uid.clone() }),
        };
        let done = self.node.enroll(&place.netns, &place.cgroup, &options)?;
        for warning in &done.warnings {
            tracing::warn!(pod = %pod.name, "{warning}");
        }
        tracing::info!(pod = %pod.name, workload = done.pins.name(), updated = done.updated, "enrolled");
        let has = Actual { sandbox: pod.sandbox.clone(), wish: wish.clone(), is_whole: true };
        known.enrolled.0.insert(done.pins.name(), has);
        Ok(())
    }

    fn release(&self, known: &mut Known, workload: &str) -> Result<()> {
        let pins = WorkloadPins::parse(workload).context("no workload's name")?;
        self.node.release(&pins).with_context(|| format!("release workload {workload}"))?;
        known.enrolled.0.remove(workload);
        known.counts.released += 1;
        tracing::info!(workload, "released");
        Ok(())
    }

    /// New values, for the pods that are there as well.
    pub fn set_values(&self, values: Values) {
        self.known().values = values;
    }

    /// Does what is to be done by what the sources tell now: `pods` are those whose sandbox is ready. `complete`: whose
    /// lists were read whole.
    pub fn reconcile(&self, pods: Vec<Pod>, complete: Complete) -> Result<()> {
        self.learn(pods, complete)?;
        let actions = {
            let known = self.known();
            plan(&self.wanted(&known, complete), &known.enrolled.0, &known.pending())
        };
        for action in actions {
            let mut known = self.known();
            match action {
                Action::Release { workload } => {
                    if let Err(error) = self.release(&mut known, &workload) {
                        tracing::warn!("{error:#}");
                        known.counts.failed += 1;
                    }
                }
                Action::Enrol { sandbox } | Action::Update { sandbox } => self.repair(&mut known, &sandbox),
            }
        }
        Ok(())
    }

    fn learn(&self, pods: Vec<Pod>, complete: Complete) -> Result<()> {
        let mut known = self.known();
        let known = &mut *known;
        if known.looked_closely.elapsed() > LOOK_CLOSELY_EVERY {
            known.enrolled = Enrolled::read()?;
            known.looked_closely = Instant::now();
        } else {
            known.enrolled.look_again()?;
        }
        known.complete.files |= complete.files;
        known.complete.runtime |= complete.runtime;
        let listed: BTreeSet<SandboxId> = pods.iter().map(|pod| pod.sandbox.clone()).collect();
        known.pods.retain(|sandbox, pod| {
            listed.contains(sandbox)
                || !complete.covers(sandbox)
                || pod.set_up_since.is_some_and(|since| since.elapsed() < SET_UP_WITHIN)
        });
        for mut pod in pods {
            let before = known.pods.remove(&pod.sandbox);
            // The plugin has told what the list may not have.
            if let Some(before) = &before {
                pod.dns_servers = pod.dns_servers.or_else(|| before.pod.dns_servers.clone());
                pod.cgroup = pod.cgroup.or_else(|| before.pod.cgroup.clone());
            }
            let decision = decide(&pod, &known.values);
            if let Decision::Refuse(faults) = &decision
                && before.as_ref().is_none_or(|before| before.decision != decision)
            {
                tracing::warn!(pod = %pod.name, "not enrolled: {faults}");
            }
            let trouble = before.and_then(|before| before.trouble);
            known.pods.insert(pod.sandbox.clone(), KnownPod { pod, decision, set_up_since: None, trouble });
        }
        // Values may have changed for those that only a plugin has told.
        for pod in known.pods.values_mut().filter(|pod| pod.set_up_since.is_some()) {
            pod.decision = decide(&pod.pod, &known.values);
        }
        Ok(())
    }

    fn wanted(&self, known: &Known, complete: Complete) -> Wanted {
        let mut wanted = Wanted { enrol: BTreeMap::new(), leave: BTreeSet::new(), complete };
        for (sandbox, pod) in &known.pods {
            match &pod.decision {
                Decision::Leave(_) => {
                    wanted.leave.insert(sandbox.clone());
                }
                // What was enrolled before its annotations could not be followed stays as it was.
                Decision::Refuse(_) => {
                    let as_it_is = known.enrolled.of(sandbox);
                    if let Some((workload, has)) = as_it_is {
                        let desired = Desired { wish: has.wish.clone(), workload: Some(workload.clone()) };
                        wanted.enrol.insert(sandbox.clone(), desired);
                    }
                }
                Decision::Enrol(wish) => {
                    let workload = self.workload_of(known, pod);
                    wanted.enrol.insert(sandbox.clone(), Desired { wish: (**wish).clone(), workload });
                }
            }
        }
        wanted
    }

    /// The name that the pod's workload has or would have. None: not now.
    fn workload_of(&self, known: &Known, pod: &KnownPod) -> Option<String> {
        if let Some((workload, _)) = known.enrolled.of(&pod.pod.sandbox)
            && is_still_there(workload, &pod.pod)
        {
            return Some(workload.clone());
        }
        if pod.trouble.as_ref().is_some_and(|trouble| trouble.next > Instant::now()) {
            return None;
        }
        Place::open(&pod.pod, &self.cgroups, false).ok().map(|place| place.workload().name())
    }

    /// Enrols a pod that runs already, or gives it other rules.
    fn repair(&self, known: &mut Known, sandbox: &SandboxId) {
        // It may have gone while others were repaired.
        let Some(found) = known.pods.get(sandbox) else { return };
        let Decision::Enrol(wish) = &found.decision else { return };
        let (pod, wish) = (found.pod.clone(), wish.clone());
        if found.trouble.as_ref().is_some_and(|trouble| trouble.next > Instant::now()) {
            return;
        }
        let was_there = known.enrolled.of(sandbox).is_some();
        let done = self.enrol(known, &pod, &wish, false);
        match &done {
            Ok(()) if was_there => known.counts.updated += 1,
            Ok(()) => known.counts.enrolled_live += 1,
            Err(error) => {
                tracing::warn!(pod = %pod.name, "not enrolled: {error:#}");
                known.counts.failed += 1;
            }
        }
        if let Some(found) = known.pods.get_mut(sandbox) {
            let wait = found.trouble.take().map_or(FIRST_RETRY, |was| (was.wait * 2).min(LAST_RETRY));
            found.trouble = done.err().map(|error| Trouble {
                message: format!("{error:#}"),
                wait,
                next: Instant::now() + wait,
            });
        }
    }

    /// What it knows, for metrics, readiness and people.
    pub fn report(&self) -> Report {
        let known = self.known();
        let of = |(sandbox, found): (&SandboxId, &KnownPod)| {
            let workload = known.enrolled.of(sandbox).map(|(workload, _)| workload.clone());
            let state = match (&found.decision, &found.trouble, &workload) {
                (Decision::Leave(reason), ..) => {
                    PodState::LeftAlone { word: reason.word(), reason: reason.to_string() }
                }
                (Decision::Refuse(why), ..) => PodState::Failed { why: why.clone() },
                (Decision::Enrol(_), Some(trouble), _) => PodState::Failed { why: trouble.message.clone() },
                (Decision::Enrol(_), None, Some(_)) => PodState::Enrolled,
                (Decision::Enrol(_), None, None) => PodState::Waiting,
            };
            PodReport { pod: found.pod.name.clone(), sandbox: sandbox.0.clone(), workload, state }
        };
        Report {
            pods: known.pods.iter().map(of).collect(),
            complete: known.complete,
            has_runtime: self.has_runtime,
            counts: known.counts,
        }
    }
}

impl Known {
    fn pending(&self) -> BTreeSet<SandboxId> {
        let being_set_up = self.pods.iter().filter(|(_, pod)| pod.set_up_since.is_some());
        being_set_up.map(|(sandbox, _)| sandbox.clone()).collect()
    }
}

/// A path that leads to the namespace of another pod that lives is no runtime's.
fn refuse_anothers(known: &Known, pod: &Pod, place: &Place) -> Result<()> {
    let inode = place.netns.id().ino;
    let is_there =
        |workload: &String| WorkloadPins::parse(workload).is_some_and(|pins| pins.netns_inode() == inode);
    let other = known.enrolled.0.iter().find(|(workload, has)| {
        has.sandbox != pod.sandbox && known.pods.contains_key(&has.sandbox) && is_there(workload)
    });
    if let Some((workload, has)) = other {
        let owner = &known.pods[&has.sandbox].pod;
        ensure!(
            !is_still_there(workload, owner),
            "network namespace {}: this is that of pod {} (workload {workload})",
            place.netns.path().display(),
            owner.name
        );
    }
    Ok(())
}

/// Whether the pod's path still leads to the namespace of its workload.
fn is_still_there(workload: &str, pod: &Pod) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Network::Own(path) = &pod.network else { return false };
    let inode = std::fs::metadata(path).map(|found| found.ino());
    WorkloadPins::parse(workload)
        .is_some_and(|pins| inode.is_ok_and(|inode| inode == pins.netns_inode()) && pins.exists())
}
