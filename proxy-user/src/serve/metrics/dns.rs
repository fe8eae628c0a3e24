use std::fmt;

use prometheus_client::registry::Unit;
use proxy_common::questions::Outcome;
use proxy_plane::flows::Questions;

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static QUESTIONS: Family = Family {
    name: "dns_questions",
    kind: Kind::Counter,
    unit: None,
    help: "Questions that were sent to the sidecar's agent over UDP; those over TCP are connections of hop `dns`",
    labels: &["workload", "namespace"],
};

static OUTCOMES: Family = Family {
    name: "dns_outcomes",
    kind: Kind::Counter,
    unit: None,
    help: "What came of them, by the code of the answer; of more than 128 that wait at once nothing is said",
    labels: &["workload", "namespace", "outcome"],
};

static ANSWERS: Family = Family {
    name: "dns_answer_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From a question sent to its answer received, whatever the answer says",
    labels: &["workload", "namespace"],
};

/// Of the kernel's buckets those whose upper ends are shown: 16 and 131 ms, 1 s.
const BOUNDS: [usize; 3] = [14, 17, 20];

#[derive(Debug)]
pub(super) struct Dns;

impl Source for Dns {
    fn families(&self) -> Vec<&'static Family> {
        vec![&QUESTIONS, &OUTCOMES, &ANSWERS]
    }

    fn values(&self) -> Vec<Values> {
        let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.name(), outcome.describe())).collect();
        vec![Values { label: "outcome", of: vec![&OUTCOMES], values: outcomes }]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut questions = page.family(&QUESTIONS)?;
        each(seen, |[name, namespace], of| questions.count(&[name, namespace], of.asked))?;
        let mut outcomes = page.family(&OUTCOMES)?;
        each(seen, |[name, namespace], of| {
            let mut found = Outcome::ALL.iter().zip(of.outcomes).filter(|(_, count)| *count > 0);
            found.try_for_each(|(outcome, count)| outcomes.count(&[name, namespace, outcome.name()], count))
        })?;
        let mut answers = page.family(&ANSWERS)?;
        each(seen, |labels, of| {
            let ends = BOUNDS.map(|bound| ((1u64 << bound) as f64 / 1e6, bound + 1));
            answers.coarser(&labels, of.answers.sum as f64 / 1e6, &of.answers.buckets, ends)
        })
    }
}

/// The workloads that have asked.
fn each(seen: &Snapshot, mut write: impl FnMut([&str; 2], &Questions) -> fmt::Result) -> fmt::Result {
    let found = seen.workloads.iter().zip(&seen.questions);
    let mut asked = found.filter_map(|(workload, questions)| Some((names(workload), questions.as_ref()?)));
    asked.try_for_each(|(labels, of)| if of.asked > 0 { write(labels, of) } else { Ok(()) })
}
