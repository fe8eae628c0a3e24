use std::{collections::BTreeMap, fmt};

use proxy_agent::report::State;

use super::{Family, Kind, Page, Snapshot, Source, Values};

static PODS: Family = Family {
    name: "agent_pods",
    kind: Kind::Gauge,
    unit: None,
    help: "Pods of the node that the agent knows, by what has become of them; `reason` says why a pod is left alone",
    labels: &["state", "reason"],
};

static POD_INFO: Family = Family {
    name: "agent_pod",
    kind: Kind::Info,
    unit: None,
    help: "An enrolled pod, by its workload: what it is part of, as Istio's metrics name it (its labels say it)",
    labels: &["workload", "namespace", "pod", "canonical_service"],
};

static ENROLMENTS: Family = Family {
    name: "agent_enrolments",
    kind: Kind::Counter,
    unit: None,
    help: "Pods enrolled, by when",
    labels: &["when"],
};

static UPDATES: Family = Family {
    name: "agent_updates",
    kind: Kind::Counter,
    unit: None,
    help: "Enrolled pods that got other rules",
    labels: &[],
};

static RELEASES: Family = Family {
    name: "agent_releases",
    kind: Kind::Counter,
    unit: None,
    help: "Workloads released: their pods have ended, or are left alone from now on",
    labels: &[],
};

static FAILURES: Family = Family {
    name: "agent_failures",
    kind: Kind::Counter,
    unit: None,
    help: "Enrolments and releases that failed; the log has the reasons",
    labels: &[],
};

static UNTOLD: Family = Family {
    name: "agent_untold",
    kind: Kind::Counter,
    unit: None,
    help: "Sandboxes whose annotations the container runtime did not pass to the plugin: decided when it lists them",
    labels: &[],
};

static REPAIRED: Family = Family {
    name: "cni_config_repaired",
    kind: Kind::Counter,
    unit: None,
    help: "How often somebody had overwritten the plugin's entry, and it was put back, by file",
    labels: &["file"],
};

#[derive(Debug)]
pub(super) struct Agent;

impl Source for Agent {
    fn families(&self) -> Vec<&'static Family> {
        vec![&PODS, &POD_INFO, &ENROLMENTS, &UPDATES, &RELEASES, &FAILURES, &UNTOLD, &REPAIRED]
    }

    fn values(&self) -> Vec<Values> {
        let left_alone = State::LeftAlone { word: "", reason: String::new() };
        let failed = State::Failed { why: String::new() };
        let states = vec![
            (State::Enrolled.word(), "its connections are captured"),
            (left_alone.word(), "it is none of the agent's; `reason` as docs/agent.md lists them"),
            (State::Waiting.word(), "to be enrolled, but its network namespace or cgroup is not there"),
            (failed.word(), "to be enrolled, but its annotations cannot be followed, or the last try failed"),
        ];
        let when = vec![("add", "before its first instruction"), ("live", "while it ran")];
        vec![
            Values { label: "state", of: vec![&PODS], values: states },
            Values { label: "when", of: vec![&ENROLMENTS], values: when },
        ]
    }

    fn is_the_agents(&self) -> bool {
        true
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let Some(agent) = &seen.agent else { return Ok(()) };
        let mut pods: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for pod in &agent.pods {
            let reason = match &pod.state {
                State::LeftAlone { word, .. } => word,
                _ => "",
            };
            *pods.entry((pod.state.word(), reason)).or_default() += 1;
        }
        let mut family = page.family(&PODS)?;
        for ((state, reason), count) in pods {
            family.gauge(&[state, reason], count.into())?;
        }
        let mut family = page.family(&POD_INFO)?;
        for pod in &agent.pods {
            let Some(workload) = &pod.workload else { continue };
            let service = pod.canonical_service.as_deref().unwrap_or_default();
            family.info(&[workload, &pod.pod.namespace, &pod.pod.name, service])?;
        }
        let counts = agent.counts;
        let mut family = page.family(&ENROLMENTS)?;
        family.count(&["add"], counts.enrolled_at_add)?;
        family.count(&["live"], counts.enrolled_live)?;
        for (family, count) in [
            (&UPDATES, counts.updated),
            (&RELEASES, counts.released),
            (&FAILURES, counts.failed),
            (&UNTOLD, counts.untold),
        ] {
            page.family(family)?.count(&[], count)?;
        }
        let mut family = page.family(&REPAIRED)?;
        for (file, count) in agent.plugin.iter().flat_map(|plugin| &plugin.repairs) {
            family.count(&[&file.display().to_string()], *count)?;
        }
        Ok(())
    }
}
