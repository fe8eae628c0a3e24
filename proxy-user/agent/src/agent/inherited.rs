//! What an agent finds enrolled when it starts. The one before it may have ended between a pod's set-up and the moment when
//! the runtime lists the pod: who took "not listed" for "gone" would send that pod's first connections out uncaptured.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::pod::SandboxId;

/// A runtime lists a sandbox when all plugins are through; kubelet gives up after two minutes.
pub(super) const SET_UP_WITHIN: Duration = Duration::from_secs(240);

/// Sandboxes that may be in the middle of their set-up.
#[derive(Debug)]
pub(super) struct Inherited {
    since: Instant,
    sandboxes: BTreeSet<SandboxId>,
}

impl Inherited {
    /// Files list their workloads at all times: one that is in none is gone.
    pub(super) fn of(enrolled: impl Iterator<Item = SandboxId>, now: Instant) -> Self {
        Self { since: now, sandboxes: enrolled.filter(|sandbox| !sandbox.is_of_file()).collect() }
    }

    /// From here on it is known what has become of this one: it is listed, or the runtime has ended it.
    pub(super) fn settle(&mut self, sandbox: &SandboxId) {
        self.sandboxes.remove(sandbox);
    }

    /// Those that a list which does not have them says nothing about.
    pub(super) fn pending(&self, now: Instant) -> impl Iterator<Item = &SandboxId> {
        let is_over = now.duration_since(self.since) >= SET_UP_WITHIN;
        self.sandboxes.iter().filter(move |_| !is_over)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        plan::{Action, Actual, Wanted, plan},
        pod::Complete,
    };

    fn id(name: &str) -> SandboxId {
        SandboxId(name.to_owned())
    }

    /// What is done when the runtime lists no pod at all.
    fn planned(inherited: &Inherited, now: Instant) -> Vec<Action> {
        let complete = Complete { files: true, runtime: true };
        let wanted = Wanted { enrol: BTreeMap::new(), leave: BTreeSet::new(), complete };
        let has = Actual { sandbox: id("a"), wish: (), is_whole: true };
        let actual = BTreeMap::from([("1-2".to_owned(), has)]);
        plan(&wanted, &actual, &inherited.pending(now).cloned().collect())
    }

    #[test]
    fn a_pod_that_no_list_has_yet_stays_captured_as_long_as_a_set_up_may_take() {
        let start = Instant::now();
        let inherited = Inherited::of([id("a")].into_iter(), start);
        assert_eq!(planned(&inherited, start), []);
        assert_eq!(planned(&inherited, start + SET_UP_WITHIN - Duration::from_secs(1)), []);
        let released = [Action::Release { workload: "1-2".to_owned() }];
        assert_eq!(planned(&inherited, start + SET_UP_WITHIN), released);
    }

    #[test]
    fn once_it_was_listed_the_list_decides() {
        let start = Instant::now();
        let mut inherited = Inherited::of([id("a")].into_iter(), start);
        inherited.settle(&id("a"));
        assert_eq!(planned(&inherited, start), [Action::Release { workload: "1-2".to_owned() }]);
    }

    #[test]
    fn a_workload_of_a_file_is_not_being_set_up() {
        let of_file = SandboxId("static/vm/one".to_owned());
        assert!(of_file.is_of_file());
        let inherited = Inherited::of([of_file].into_iter(), Instant::now());
        assert_eq!(inherited.pending(Instant::now()).count(), 0);
    }
}
