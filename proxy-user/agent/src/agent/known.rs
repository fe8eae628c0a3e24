//! What the agent knows of the node's pods, and what follows from it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use proxy_plane::{
    dataplane::{WorkloadPins, prune},
    netns::{Netns, OwnerMap},
};

use super::{
    inherited::{Inherited, SET_UP_WITHIN},
    settled::{Places, Settled},
};
use crate::{
    cgroup_of::{Absent, PodCgroups},
    decide::{Decision, Wish, decide},
    enrolled::Enrolled,
    place::Place,
    plan::{Actual, Desired, Wanted},
    plugin::Plugin,
    pod::{Complete, Network, Pod, SandboxId},
    report::Counts,
    values::Values,
};

/// Between two looks at what is pinned, beyond the names.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

pub(super) struct Known {
    pub(super) values: Values,
    pub(super) pods: BTreeMap<SandboxId, KnownPod>,
    pub(super) enrolled: Enrolled,
    inherited: Inherited,
    /// The runtime has taken their network away: a list that is older still has them.
    ended: BTreeSet<SandboxId>,
    looked_closely: Instant,
    /// As long as nothing else happens.
    settled: Option<Settled>,
    /// Who has told all pods of the node at least once.
    pub(super) complete: Complete,
    pub(super) counts: Counts,
    /// Where it is the agent's to install: how it is about the plugin.
    pub(super) plugin: Option<Plugin>,
}

pub(super) struct KnownPod {
    pub(super) pod: Pod,
    pub(super) decision: Decision,
    /// Since when a plugin has said it, unless a list has it by now.
    pub(super) set_up_since: Option<Instant>,
    pub(super) trouble: Option<Trouble>,
    /// Who its users are on the node, once somebody has asked.
    owners: Option<OwnerMap>,
}

/// It is to be enrolled, and could not be.
pub(super) struct Trouble {
    pub(super) message: String,
    wait: Duration,
    next: Instant,
}

impl KnownPod {
    /// As the plugin has told it.
    pub(super) fn set_up(pod: Pod, decision: Decision) -> Self {
        Self { pod, decision, set_up_since: Some(Instant::now()), trouble: None, owners: None }
    }

    pub(super) fn is_to_wait(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.next > Instant::now())
    }

    /// What has come of trying.
    pub(super) fn tried(&mut self, error: Option<&anyhow::Error>) {
        let wait = self.trouble.take().map_or(FIRST_RETRY, |was| (was.wait * 2).min(LAST_RETRY));
        self.trouble =
            error.map(|error| Trouble { message: format!("{error:#}"), wait, next: Instant::now() + wait });
    }

    /// The wish with the ids that the pod's users have on the node.
    pub(super) fn wish_here(&mut self, wish: &Wish) -> Result<Wish> {
        if self.owners.is_none() {
            let Network::Own(path) = &self.pod.network else { return Ok(wish.clone()) };
            self.owners = Some(Netns::open(path)?.owner_map()?);
        }
        self.owners.as_ref().map_or_else(|| Ok(wish.clone()), |owners| here(wish, owners))
    }
}

/// A user namespace makes others of the ids that the annotations and the container say.
pub(super) fn here(wish: &Wish, owners: &OwnerMap) -> Result<Wish> {
    let mut wish = wish.clone();
    for (ids, map, what) in [
        (&mut wish.config.proxy_uids, &owners.uids, "uid"),
        (&mut wish.config.proxy_gids, &owners.gids, "gid"),
    ] {
        for id in ids {
            let inside = *id;
            *id = map.host_id(inside).with_context(|| {
                format!(
                    "{what} {inside} of the sidecar is nobody in the pod's user namespace (hostUsers: false)"
                )
            })?;
        }
    }
    Ok(wish)
}

impl Known {
    pub(super) fn new(values: Values, plugin: Option<Plugin>) -> Result<Self> {
        Ok(Self::with(values, plugin, Enrolled::read().context("read what is enrolled")?))
    }

    fn with(values: Values, plugin: Option<Plugin>, enrolled: Enrolled) -> Self {
        let sandboxes = enrolled.all.values().map(|has| has.sandbox.clone());
        Self {
            values,
            pods: BTreeMap::new(),
            inherited: Inherited::of(sandboxes, Instant::now()),
            enrolled,
            ended: BTreeSet::new(),
            looked_closely: Instant::now(),
            settled: None,
            complete: Complete::default(),
            counts: Counts::default(),
            plugin,
        }
    }

    /// The runtime takes the sandbox's network away. `is_listed`: a list may have it still.
    pub(super) fn end(&mut self, sandbox: &SandboxId, is_listed: bool) {
        self.pods.remove(sandbox);
        self.inherited.settle(sandbox);
        if is_listed {
            self.ended.insert(sandbox.clone());
        }
    }

    /// Whether nothing is to be done, which is what most looks find.
    pub(super) fn is_settled(&mut self, told: &[Pod], complete: Complete) -> Result<bool> {
        let Some(settled) = &mut self.settled else { return Ok(false) };
        let with_pod = |(workload, has): (&String, &Actual)| {
            self.pods.get(&has.sandbox).is_none_or(|known| is_at(&known.pod, workload))
        };
        let is_again = settled.is_again(told, complete, || self.enrolled.all.iter().all(with_pod));
        Ok(is_again && !self.is_to_look_closely() && !self.enrolled.look_again()?)
    }

    /// `told` has left nothing to do. `places`: as they were before it was looked at.
    pub(super) fn settle(&mut self, told: Vec<Pod>, complete: Complete, places: Places) {
        let is_done = |(sandbox, pod): (&SandboxId, &KnownPod)| {
            let is_enrolled = || self.enrolled.of(sandbox).is_some();
            pod.trouble.is_none() && (!matches!(pod.decision, Decision::Enrol(_)) || is_enrolled())
        };
        let is_all = self.pending().is_empty() && self.pods.iter().all(is_done);
        self.settled = is_all.then(|| Settled::new(told, complete, places));
    }

    /// Something has happened that nobody is told by the sources.
    pub(super) fn unsettle(&mut self) {
        self.settled = None;
    }

    fn is_to_look_closely(&self) -> bool {
        self.looked_closely.elapsed() > LOOK_CLOSELY_EVERY
    }

    /// Takes in what the sources tell. Returns the workloads whose routes and addresses may be others by now.
    pub(super) fn learn(&mut self, pods: Vec<Pod>, complete: Complete) -> Result<BTreeSet<String>> {
        let mut changed = BTreeSet::new();
        if self.inherited.pending(Instant::now()).next().is_some() {
            // A set-up that has failed meanwhile had nobody to tell.
            remove_gone()?;
        }
        let closely = self.is_to_look_closely();
        if closely {
            self.enrolled = Enrolled::read()?;
            self.looked_closely = Instant::now();
            changed.extend(self.enrolled.all.keys().cloned());
        } else {
            self.enrolled.look_again()?;
        }
        self.complete.files |= complete.files;
        self.complete.runtime |= complete.runtime;
        let listed: BTreeSet<SandboxId> = pods.iter().map(|pod| pod.sandbox.clone()).collect();
        listed.iter().for_each(|sandbox| self.inherited.settle(sandbox));
        self.pods.retain(|sandbox, pod| {
            listed.contains(sandbox)
                || !complete.covers(sandbox)
                || pod.set_up_since.is_some_and(|since| since.elapsed() < SET_UP_WITHIN)
        });
        if complete.runtime {
            self.ended.retain(|sandbox| listed.contains(sandbox));
        }
        for pod in pods {
            if !self.ended.contains(&pod.sandbox) {
                self.take_in(pod, &mut changed, closely);
            }
        }
        Ok(changed)
    }

    fn take_in(&mut self, mut pod: Pod, changed: &mut BTreeSet<String>, closely: bool) {
        let before = self.pods.remove(&pod.sandbox);
        if let Some(before) = &before {
            // The plugin has told what the list may not have.
            pod.dns_servers = pod.dns_servers.or_else(|| before.pod.dns_servers.clone());
            pod.cgroup = pod.cgroup.or_else(|| before.pod.cgroup.clone());
            // Plugins that came after ours have added routes, and networks.
            let is_new = before.set_up_since.is_some() && !closely;
            let workload = self.enrolled.of(&pod.sandbox).filter(|_| is_new);
            changed.extend(workload.map(|(name, _)| name.clone()));
        }
        let known = match before {
            // It is decided, and what was wrong with it is said.
            Some(before) if before.pod == pod => KnownPod { set_up_since: None, ..before },
            before => self.decided(pod, before),
        };
        self.pods.insert(known.pod.sandbox.clone(), known);
    }

    /// Pods that are there are decided by them.
    pub(super) fn set_values(&mut self, values: Values) {
        if self.values == values {
            return;
        }
        tracing::info!("the agent's values are others now");
        self.unsettle();
        self.values = values;
        for (sandbox, known) in std::mem::take(&mut self.pods) {
            let set_up_since = known.set_up_since;
            let known = KnownPod { set_up_since, ..self.decided(known.pod.clone(), Some(known)) };
            self.pods.insert(sandbox, known);
        }
    }

    /// Enrolled pods, by workload, whose namespaces are still where they were.
    pub(super) fn networks(&self) -> BTreeMap<String, PathBuf> {
        let of = |(workload, has): (&String, &Actual)| {
            let pod = &self.pods.get(&has.sandbox)?.pod;
            let Network::Own(path) = &pod.network else { return None };
            is_still_there(workload, pod).then(|| (workload.clone(), path.clone()))
        };
        self.enrolled.all.iter().filter_map(of).collect()
    }

    fn decided(&self, pod: Pod, before: Option<KnownPod>) -> KnownPod {
        let decision = decide(&pod, &self.values, self.enrolled.of(&pod.sandbox).is_some());
        if let Decision::Refuse(faults) = &decision
            && before.as_ref().is_none_or(|before| before.decision != decision)
        {
            tracing::warn!(pod = %pod.name, "not enrolled: {faults}");
        }
        let same = before.filter(|before| before.pod.network == pod.network);
        let (trouble, owners) = same.map_or((None, None), |before| (before.trouble, before.owners));
        KnownPod { pod, decision, set_up_since: None, trouble, owners }
    }

    pub(super) fn pending(&self) -> BTreeSet<SandboxId> {
        let being_set_up = self.pods.iter().filter(|(_, pod)| pod.set_up_since.is_some());
        let of_before = self.inherited.pending(Instant::now());
        being_set_up.map(|(sandbox, _)| sandbox).chain(of_before).cloned().collect()
    }

    pub(super) fn wanted(&mut self, cgroups: &PodCgroups, complete: Complete) -> Wanted {
        let mut wanted = Wanted { enrol: BTreeMap::new(), leave: BTreeSet::new(), complete };
        for (sandbox, pod) in &mut self.pods {
            let has = self.enrolled.of(sandbox);
            let as_it_is = |(workload, has): (&String, &Actual)| Desired {
                wish: has.wish.clone(),
                workload: Some(workload.clone()),
            };
            let desired = match &pod.decision {
                Decision::Leave(_) => {
                    wanted.leave.insert(sandbox.clone());
                    continue;
                }
                // What was enrolled before its annotations could not be followed stays as it was.
                Decision::Refuse(_) => has.map(as_it_is),
                Decision::Enrol(wish) => {
                    let wish = wish.clone();
                    let there =
                        has.map(|(name, _)| name.clone()).filter(|name| is_still_there(name, &pod.pod));
                    let workload = there.or_else(|| {
                        let place =
                            (!pod.is_to_wait()).then(|| Place::open(&pod.pod, cgroups, Absent::Refuse));
                        Some(place?.ok()?.workload().name())
                    });
                    match pod.wish_here(&wish) {
                        Ok(wish) => Some(Desired { wish, workload }),
                        Err(error) => {
                            tracing::debug!(pod = %pod.pod.name, "{error:#}");
                            Some(Desired { wish: *wish, workload: None })
                        }
                    }
                }
            };
            wanted.enrol.extend(desired.map(|desired| (sandbox.clone(), desired)));
        }
        wanted
    }

    /// Whether a workload that a plan releases is still to go: since the plan the plugin may have released it, or set its
    /// pod up again.
    pub(super) fn is_still_to_go(&self, workload: &str) -> bool {
        let Some(has) = self.enrolled.all.get(workload) else { return false };
        let is_its =
            |pod: &KnownPod| !matches!(pod.decision, Decision::Leave(_)) && is_at(&pod.pod, workload);
        !self.pods.get(&has.sandbox).is_some_and(is_its)
    }

    /// A path that leads to the namespace of another pod that lives is no runtime's.
    pub(super) fn refuse_anothers(&self, pod: &Pod, place: &Place) -> Result<()> {
        let inode = place.netns.id().ino;
        for (workload, has) in &self.enrolled.all {
            let Some(owner) = self.pods.get(&has.sandbox) else { continue };
            let is_it = WorkloadPins::parse(workload).is_some_and(|pins| pins.netns_inode() == inode);
            ensure!(
                has.sandbox == pod.sandbox || !is_it || !is_still_there(workload, &owner.pod),
                "network namespace {}: this is that of pod {} (workload {workload})",
                place.netns.path().display(),
                owner.pod.name
            );
        }
        Ok(())
    }
}

/// Removes what is left of pods whose network namespaces are gone.
pub(super) fn remove_gone() -> Result<()> {
    for gone in prune()? {
        tracing::info!(workload = gone.name(), "removed: its network namespace is gone");
    }
    Ok(())
}

/// Whether the pod's path still leads to the namespace of its workload, which is still enrolled.
fn is_still_there(workload: &str, pod: &Pod) -> bool {
    is_at(pod, workload) && WorkloadPins::parse(workload).is_some_and(|pins| pins.exists())
}

/// Whether the pod's path still leads to the namespace of this workload.
fn is_at(pod: &Pod, workload: &str) -> bool {
    let Network::Own(path) = &pod.network else { return false };
    let inode = std::fs::metadata(path).map(|found| found.ino());
    WorkloadPins::parse(workload).is_some_and(|pins| inode.is_ok_and(|inode| inode == pins.netns_inode()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decide::usual, plan::Actual};

    /// What a plan releases is looked at again when its turn comes.
    #[test]
    fn a_plan_that_is_late_releases_nothing() {
        let [its, another] = [(); 2].map(|()| tempfile::NamedTempFile::new().unwrap());
        let inode = |file: &tempfile::NamedTempFile| file.as_file().metadata().unwrap().ino();
        let workload = format!("{}-1", inode(&its));
        let values = Values::default();
        let pod_at = |file: &tempfile::NamedTempFile| {
            Pod::of_machine("shop/web".parse().unwrap(), file.path().to_owned(), "/pod".as_ref(), &[])
        };
        let wish = usual(&values).unwrap();
        let sandbox = pod_at(&its).sandbox;
        let has = Actual { sandbox: sandbox.clone(), wish: wish.clone(), is_whole: true };
        let mut known = Known::with(values.clone(), None, Enrolled::default());
        known.enrolled.all.insert(workload.clone(), has);
        assert!(known.is_still_to_go(&workload), "nobody knows its pod");

        let set_up = |known: &mut Known, file, decision| {
            known.pods.insert(sandbox.clone(), KnownPod::set_up(pod_at(file), decision));
        };
        let enrol = || Decision::Enrol(Box::new(wish.clone()));
        set_up(&mut known, &its, enrol());
        assert!(!known.is_still_to_go(&workload), "it was set up since");
        set_up(&mut known, &another, enrol());
        assert!(known.is_still_to_go(&workload), "its pod has another network");
        set_up(&mut known, &its, decide(&Pod { network: Network::Host, ..pod_at(&its) }, &values, false));
        assert!(known.is_still_to_go(&workload), "its pod is to be left alone");
        known.enrolled.all.clear();
        assert!(!known.is_still_to_go(&workload), "the plugin has released it");
    }
}
