use std::fmt;

use prometheus_client::registry::Unit;
use proxy_common::questions::Outcome;
use proxy_plane::flows::{Names, Questions};

use super::{Family, Kind, Page, Snapshot, Source, Values, page::Samples};
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
    help: "What came of them, by the code of the answer; of more than 256 that wait at once, the sidecar's included, nothing is said",
    labels: &["workload", "namespace", "outcome"],
};

static ANSWERS: Family = Family {
    name: "dns_answer_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From a question sent to its answer received, whatever the answer says",
    labels: &["workload", "namespace"],
};

static UPSTREAM_OUTCOMES: Family = Family {
    name: "dns_upstream_outcomes",
    kind: Kind::Counter,
    unit: None,
    help: "What came of the questions that the sidecar and its agent have sent over UDP to port 53, by the resolver's \
           address; after four resolvers of a workload, and for good, the further ones are `other`. Only where questions \
           are captured",
    labels: &["workload", "namespace", "resolver", "outcome"],
};

static UPSTREAM_ANSWERS: Family = Family {
    name: "dns_upstream_answer_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From such a question sent to its answer received: with `sidestep_dns_answer_duration_seconds` it tells a slow \
           resolver from a slow agent",
    labels: &["workload", "namespace", "resolver"],
};

/// Resolvers that are not told apart.
const OTHERS: &str = "other";
/// Of the kernel's buckets those whose upper ends are shown: 16 and 131 ms, 1 s.
const BOUNDS: [usize; 3] = [14, 17, 20];

#[derive(Debug)]
pub(super) struct Dns;

impl Source for Dns {
    fn families(&self) -> Vec<&'static Family> {
        vec![&QUESTIONS, &OUTCOMES, &ANSWERS, &UPSTREAM_OUTCOMES, &UPSTREAM_ANSWERS]
    }

    fn values(&self) -> Vec<Values> {
        let outcomes = Outcome::ALL.iter().map(|outcome| (outcome.name(), outcome.describe())).collect();
        let others = vec![(OTHERS, "none of the first four")];
        vec![
            Values { label: "outcome", of: vec![&OUTCOMES, &UPSTREAM_OUTCOMES], values: outcomes },
            Values { label: "resolver", of: vec![&UPSTREAM_OUTCOMES, &UPSTREAM_ANSWERS], values: others },
        ]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut questions = page.family(&QUESTIONS)?;
        each_asker(seen, |labels, of| questions.count(&labels, of.asked))?;
        let mut outcomes = page.family(&OUTCOMES)?;
        each_asker(seen, |labels, of| write_outcomes(&mut outcomes, &labels, of))?;
        let mut answers = page.family(&ANSWERS)?;
        each_asker(seen, |labels, of| write_answers(&mut answers, &labels, of))?;
        let mut outcomes = page.family(&UPSTREAM_OUTCOMES)?;
        each_resolver(seen, |labels, of| write_outcomes(&mut outcomes, &labels, of))?;
        let mut answers = page.family(&UPSTREAM_ANSWERS)?;
        each_resolver(seen, |labels, of| write_answers(&mut answers, &labels, of))
    }
}

/// Those that there were.
fn write_outcomes(samples: &mut Samples<'_>, labels: &[&str], of: &Questions) -> fmt::Result {
    let mut found = Outcome::ALL.iter().zip(of.outcomes).filter(|(_, count)| *count > 0);
    found.try_for_each(|(outcome, count)| samples.count(&[labels, &[outcome.name()]].concat(), count))
}

fn write_answers(samples: &mut Samples<'_>, labels: &[&str], of: &Questions) -> fmt::Result {
    let ends = BOUNDS.map(|bound| ((1u64 << bound) as f64 / 1e6, bound + 1));
    samples.coarser(labels, of.answers.sum as f64 / 1e6, &of.answers.buckets, ends)
}

/// The workloads whose packets are looked at.
fn each(seen: &Snapshot, mut write: impl FnMut([&str; 2], &Names) -> fmt::Result) -> fmt::Result {
    let found = seen.workloads.iter().zip(&seen.questions);
    let mut looked_at = found.filter_map(|(workload, of)| Some((names(workload), of.as_ref()?)));
    looked_at.try_for_each(|(labels, of)| write(labels, of))
}

/// Those that have asked their agent.
fn each_asker(seen: &Snapshot, mut write: impl FnMut([&str; 2], &Questions) -> fmt::Result) -> fmt::Result {
    each(
        seen,
        |labels, Names { captured, .. }| if captured.asked > 0 { write(labels, captured) } else { Ok(()) },
    )
}

/// The resolvers that their sidecars have asked.
fn each_resolver(
    seen: &Snapshot,
    mut write: impl FnMut([&str; 3], &Questions) -> fmt::Result,
) -> fmt::Result {
    each(seen, |[name, namespace], of| {
        of.upstream.iter().try_for_each(|(resolver, questions)| {
            let resolver = resolver.map_or_else(|| OTHERS.to_owned(), |address| address.to_string());
            write([name, namespace, &resolver], questions)
        })
    })
}
