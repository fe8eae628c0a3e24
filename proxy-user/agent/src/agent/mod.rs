//! The agent: what it does for the pods it knows of. Everything that changes the kernel takes turns here; what takes long
//! (waiting for a runtime, for a plugin) is elsewhere.

mod inherited;
mod known;
mod settled;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};
use proxy_cni::wire::{Answer, Command, Request};
use proxy_core::harmless::harmless;
use proxy_plane::dataplane::{AttachOptions, Node, Sandbox, SharedHold, WorkloadPins};
use tokio::sync::Notify;

use self::{
    known::{Known, KnownPod},
    settled::Places,
};
use crate::{
    canonical_service,
    cgroup_of::{Absent, PodCgroups},
    decide::{Decision, Wish, decide, kept, usual},
    place::Place,
    plan::{Action, Actual, plan},
    plugin::Plugin,
    pod::{Complete, Pod, SandboxId},
    report::{PodReport, Report, State},
    told,
    values::Values,
};

/// See the module.
pub struct Agent {
    node: Node,
    cgroups: PodCgroups,
    /// A container runtime lists the pods.
    has_runtime: bool,
    known: Mutex<Known>,
    /// The plugin has had a pod enrolled or released.
    told: Notify,
    /// What pods share stays while there are none.
    _held: SharedHold,
}

impl Agent {
    /// Reads what is there. Nothing is changed, but for what is left of pods that are gone. `plugin`: where it is the agent's to
    /// install.
    pub fn open(
        values: Values,
        cgroups: PodCgroups,
        has_runtime: bool,
        plugin: Option<Plugin>,
    ) -> Result<Self> {
        let node = Node::open()?;
        let held = node.hold()?;
        known::remove_gone()?;
        Ok(Self {
            node,
            cgroups,
            has_runtime,
            known: Mutex::new(Known::new(values, plugin)?),
            told: Notify::new(),
            _held: held,
        })
    }

    /// Loads the programs that most pods will need.
    pub fn warm(&self) -> Result<()> {
        let Some(wish) = usual(&self.known().values) else { return Ok(()) };
        let options = AttachOptions {
            config: wish.config,
            acceleration: wish.acceleration,
            observe: wish.observe,
            pod: None,
            sandbox: None,
        };
        self.node.warm(&options, false)?;
        self.node.warm(&options, true)
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
        self.known().unsettle();
        self.told.notify_one();
        done.unwrap_or_else(|error| {
            let message = format!("{error:#}");
            tracing::warn!(sandbox = &*harmless(&request.container_id), "{message}");
            self.known().counts.failed += 1;
            Answer::Failed { message }
        })
    }

    fn add(&self, request: &Request) -> Result<Answer> {
        let pod = told::pod(request)?;
        let mut known = self.known();
        if request.annotations.is_none() {
            if known.counts.untold == 0 {
                tracing::warn!(
                    "the container runtime does not pass annotations to the plugin: pods are enrolled only when it \
                     lists them; `sidestep doctor` says whether the plugin's entry asks for them"
                );
            }
            known.counts.untold += 1;
            let reason = "the runtime does not pass annotations: it is decided when the runtime lists it";
            return Ok(Answer::LeftAlone { reason: reason.to_owned() });
        }
        let decision = decide(&pod, &known.values, known.enrolled.of(&pod.sandbox).is_some());
        let answer = match &decision {
            Decision::Leave(reason) => Answer::LeftAlone { reason: reason.to_string() },
            Decision::Refuse(faults) => anyhow::bail!("{}: {faults}", pod.name),
            Decision::Enrol(wish) => {
                let made = self.enrol(&mut known, &pod, wish, Absent::Make);
                made.with_context(|| pod.name.to_string())?;
                known.counts.enrolled_at_add += 1;
                Answer::Enrolled
            }
        };
        known.pods.insert(pod.sandbox.clone(), KnownPod::set_up(pod, decision));
        Ok(answer)
    }

    fn del(&self, request: &Request) -> Result<Answer> {
        let sandbox = told::sandbox(&request.container_id)?;
        let mut known = self.known();
        known.end(&sandbox, self.has_runtime);
        while let Some((workload, _)) = known.enrolled.of(&sandbox) {
            let workload = workload.clone();
            self.release(&mut known, &workload)?;
        }
        Ok(Answer::Released)
    }

    fn enrol(&self, known: &mut Known, pod: &Pod, wish: &Wish, absent: Absent) -> Result<()> {
        let place = Place::open(pod, &self.cgroups, absent)?;
        known.refuse_anothers(pod, &place)?;
        let wish = known::here(wish, &place.netns.owner_map()?)?;
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
        let has = Actual { sandbox: pod.sandbox.clone(), wish, is_whole: true };
        known.enrolled.all.insert(done.pins.name(), has);
        Ok(())
    }

    fn release(&self, known: &mut Known, workload: &str) -> Result<()> {
        let pins = WorkloadPins::parse(workload).context("no workload's name")?;
        self.node.release(&pins).with_context(|| format!("release workload {workload}"))?;
        known.enrolled.all.remove(workload);
        known.counts.released += 1;
        tracing::info!(workload, "released");
        Ok(())
    }

    /// For the pods that are there as well, with the next [`Self::reconcile`].
    pub fn set_values(&self, values: Values) {
        self.known().set_values(values);
    }

    /// Until the plugin has asked for something.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// The workloads whose network changes may be watched, and where their namespaces are.
    pub(crate) fn networks(&self) -> BTreeMap<String, PathBuf> {
        self.known().networks()
    }

    /// Looks again at the addresses, routes and interfaces of these workloads.
    pub(crate) fn refresh(&self, workloads: &BTreeSet<String>) {
        for pins in workloads.iter().filter_map(|name| WorkloadPins::parse(name)).filter(WorkloadPins::exists)
        {
            match self.node.refresh(&pins) {
                Ok(true) => {
                    tracing::info!(workload = pins.name(), "its addresses, routes or interfaces changed");
                }
                Ok(false) => {}
                Err(error) => tracing::debug!(workload = pins.name(), "not looked at again: {error:#}"),
            }
        }
    }

    /// How it is about the plugin, where it is the agent's to install.
    pub fn set_plugin(&self, plugin: Plugin) {
        self.known().plugin = Some(plugin);
    }

    /// Does what is to be done by what the sources tell now: `pods` are those whose sandbox is ready. `complete`: whose
    /// lists were read whole. False: all is as it was.
    pub fn reconcile(&self, pods: Vec<Pod>, complete: Complete) -> Result<bool> {
        let (actions, changed) = {
            let mut known = self.known();
            if known.is_settled(&pods, complete)? {
                return Ok(false);
            }
            known.unsettle();
            let (told, places) = (pods.clone(), Places::of(&pods));
            let changed = known.learn(pods, complete)?;
            let wanted = known.wanted(&self.cgroups, complete);
            let actions = plan(&wanted, &known.enrolled.all, &known.pending());
            if actions.is_empty() {
                known.settle(told, complete, places);
            }
            (actions, changed)
        };
        // One at a time: a plugin's question waits for no more than one.
        for action in actions {
            let mut known = self.known();
            match action {
                Action::Release { workload } if !known.is_still_to_go(&workload) => {}
                Action::Release { workload } => {
                    if let Err(error) = self.release(&mut known, &workload) {
                        tracing::warn!("{error:#}");
                        known.counts.failed += 1;
                    }
                }
                Action::Enrol { sandbox } | Action::Update { sandbox } => self.repair(&mut known, &sandbox),
            }
        }
        self.refresh(&changed);
        Ok(true)
    }

    /// Enrols a pod that runs already, or gives it other rules.
    fn repair(&self, known: &mut Known, sandbox: &SandboxId) {
        // It may have gone while others were repaired.
        let Some(found) = known.pods.get(sandbox).filter(|found| !found.is_to_wait()) else { return };
        let Decision::Enrol(wish) = &found.decision else { return };
        let (pod, wish) = (found.pod.clone(), wish.clone());
        let was_there = known.enrolled.of(sandbox).is_some();
        let done = self.enrol(known, &pod, &wish, Absent::Refuse);
        match &done {
            Ok(()) if was_there => known.counts.updated += 1,
            Ok(()) => known.counts.enrolled_live += 1,
            Err(error) => {
                tracing::warn!(pod = %pod.name, "not enrolled: {error:#}");
                known.counts.failed += 1;
            }
        }
        if let Some(found) = known.pods.get_mut(sandbox) {
            found.tried(done.err().as_ref());
        }
    }

    /// What it knows, for metrics, readiness and people.
    pub fn report(&self) -> Report {
        let known = self.known();
        let of = |(sandbox, found): (&SandboxId, &KnownPod)| {
            let workload = known.enrolled.of(sandbox).map(|(workload, _)| workload.clone());
            let state = match (&found.decision, &found.trouble, &workload) {
                (Decision::Leave(reason), ..) => {
                    State::LeftAlone { word: reason.word(), reason: reason.to_string() }
                }
                (Decision::Refuse(why), ..) => State::Failed { why: why.clone() },
                (Decision::Enrol(_), Some(trouble), _) => State::Failed { why: trouble.message.clone() },
                (Decision::Enrol(_), None, Some(_)) => State::Enrolled,
                (Decision::Enrol(_), None, None) => State::Waiting,
            };
            let kept = (state == State::Enrolled).then(|| kept(&found.pod, &known.values)).flatten();
            let (pod, labels) = (found.pod.name.clone(), found.pod.labels.as_ref());
            let canonical_service = labels.and_then(|labels| canonical_service::of(&pod, labels));
            PodReport { pod, canonical_service, sandbox: sandbox.0.clone(), workload, kept, state }
        };
        Report {
            pods: known.pods.iter().map(of).collect(),
            complete: known.complete,
            has_runtime: self.has_runtime,
            counts: known.counts,
            plugin: known.plugin.clone(),
        }
    }
}
