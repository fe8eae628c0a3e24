//! What is to be done so that the kernel has what is wanted: a pure function of both.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    decide::Wish,
    pod::{Complete, SandboxId},
};

/// A pod that is to be enrolled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Desired<W = Wish> {
    pub wish: W,
    /// What its network namespace and its cgroup are by now; None: they are not there (yet), or may not be used.
    pub workload: Option<String>,
}

/// What the kernel has, of what the agent has enrolled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actual<W = Wish> {
    pub sandbox: SandboxId,
    pub wish: W,
    /// Every link is in place and this version can read it.
    pub is_whole: bool,
}

/// One step. They are independent of each other but for a pod that is enrolled where something else has to go first, and
/// the order of a plan sees to that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    Release {
        workload: String,
    },
    Enrol {
        sandbox: SandboxId,
    },
    /// It is enrolled, and gets other rules.
    Update {
        sandbox: SandboxId,
    },
}

/// What is known of the pods of the node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted<W = Wish> {
    /// The pods to be enrolled.
    pub enrol: BTreeMap<SandboxId, Desired<W>>,
    /// Pods that are there and to be left alone.
    pub leave: BTreeSet<SandboxId>,
    /// Whether all pods of the node are in one of the two. Where not, a pod that is in neither may be there: who would tell
    /// is away.
    pub complete: Complete,
}

/// Plans. `actual` is by workload, the name of its pins. `pending`: sandboxes that a runtime is setting up, and that no
/// list has yet.
pub fn plan<W: PartialEq>(
    wanted: &Wanted<W>,
    actual: &BTreeMap<String, Actual<W>>,
    pending: &BTreeSet<SandboxId>,
) -> Vec<Action> {
    let mut releases = Vec::new();
    let mut enrols = Vec::new();
    for (workload, has) in actual {
        let stays = match wanted.enrol.get(&has.sandbox) {
            // A namespace of the pod that is not there keeps what is enrolled: the runtime says when the pod is gone.
            Some(desired) => desired.workload.as_ref().is_none_or(|there| there == workload),
            None => {
                let is_left = wanted.leave.contains(&has.sandbox);
                !is_left && (!wanted.complete.covers(&has.sandbox) || pending.contains(&has.sandbox))
            }
        };
        if !stays {
            releases.push(Action::Release { workload: workload.clone() });
        }
    }
    for (sandbox, desired) in &wanted.enrol {
        let Some(workload) = &desired.workload else { continue };
        match actual.get(workload) {
            Some(has) if has.sandbox == *sandbox && has.is_whole => {
                if has.wish != desired.wish {
                    enrols.push(Action::Update { sandbox: sandbox.clone() });
                }
            }
            _ => enrols.push(Action::Enrol { sandbox: sandbox.clone() }),
        }
    }
    releases.extend(enrols);
    releases
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ALL: Complete = Complete { files: true, runtime: true };

    fn id(text: &str) -> SandboxId {
        SandboxId(text.to_owned())
    }

    /// `a` is enrolled as 1-1, wants `w`; the table says what differs.
    struct Case {
        wanted: Wanted<&'static str>,
        actual: BTreeMap<String, Actual<&'static str>>,
        pending: BTreeSet<SandboxId>,
    }

    impl Case {
        fn new() -> Self {
            let desired = Desired { wish: "w", workload: Some("1-1".to_owned()) };
            let actual = Actual { sandbox: id("a"), wish: "w", is_whole: true };
            Self {
                wanted: Wanted { enrol: [(id("a"), desired)].into(), leave: BTreeSet::new(), complete: ALL },
                actual: [("1-1".to_owned(), actual)].into(),
                pending: BTreeSet::new(),
            }
        }

        fn a(&mut self) -> &mut Desired<&'static str> {
            self.wanted.enrol.get_mut(&id("a")).unwrap()
        }

        fn has(&mut self) -> &mut Actual<&'static str> {
            self.actual.get_mut("1-1").unwrap()
        }
    }

    fn release(workload: &str) -> Action {
        Action::Release { workload: workload.to_owned() }
    }

    fn enrol() -> Action {
        Action::Enrol { sandbox: id("a") }
    }

    #[rstest]
    #[case::in_step(|_: &mut Case| {}, vec![])]
    #[case::new(|it: &mut Case| it.actual.clear(), vec![enrol()])]
    #[case::other_rules(|it: &mut Case| it.a().wish = "v", vec![Action::Update { sandbox: id("a") }])]
    #[case::broken(|it: &mut Case| it.has().is_whole = false, vec![enrol()])]
    #[case::namespace_not_there_yet(|it: &mut Case| { it.actual.clear(); it.a().workload = None; }, vec![])]
    #[case::namespace_gone(|it: &mut Case| it.a().workload = None, vec![])]
    #[case::another_namespace(|it: &mut Case| it.a().workload = Some("2-1".to_owned()), vec![release("1-1"), enrol()])]
    #[case::sandbox_made_again_at_the_same_number(|it: &mut Case| it.has().sandbox = id("old"), vec![release("1-1"), enrol()])]
    #[case::pod_gone(|it: &mut Case| it.wanted.enrol.clear(), vec![release("1-1")])]
    #[case::left_alone_from_now_on(|it: &mut Case| { it.wanted.enrol.clear(); it.wanted.leave.insert(id("a")); it.wanted.complete = Complete::default(); }, vec![release("1-1")])]
    #[case::nobody_says_which_pods_there_are(|it: &mut Case| { it.wanted.enrol.clear(); it.wanted.complete = Complete::default(); }, vec![])]
    #[case::files_say_nothing_of_a_runtimes(|it: &mut Case| { it.wanted.enrol.clear(); it.wanted.complete = Complete { files: true, runtime: false }; }, vec![])]
    #[case::being_set_up(|it: &mut Case| { it.wanted.enrol.clear(); it.pending.insert(id("a")); }, vec![])]
    fn plans(#[case] differs: fn(&mut Case), #[case] expected: Vec<Action>) {
        let mut case = Case::new();
        differs(&mut case);
        assert_eq!(plan(&case.wanted, &case.actual, &case.pending), expected);
    }
}
