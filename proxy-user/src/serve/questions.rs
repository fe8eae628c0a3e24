//! What a workload has asked its sidecar's agent for over UDP, for the node's page.

use proxy_common::{flow::Histogram, questions::Outcome};
use proxy_plane::flows;
use serde::Serialize;

use super::paths::upper_end_us;

/// Since the workload was attached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Questions {
    asked: u64,
    /// Those there were, in the order of [`Outcome`].
    outcomes: Vec<Came>,
    /// Of the answers, whatever they said: half took less than this, and 99 of 100; powers of two. None: there was none.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

/// So many questions came to this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Came {
    outcome: &'static str,
    questions: u64,
    describe: &'static str,
    /// It is no answer to the question: neither the name's addresses nor that there is no such name.
    failed: bool,
}

impl Questions {
    /// None: nobody has asked.
    pub(super) fn of(seen: &flows::Questions) -> Option<Self> {
        let came = |(outcome, questions): (&Outcome, u64)| Came {
            outcome: outcome.name(),
            questions,
            describe: outcome.describe(),
            failed: !matches!(outcome, Outcome::NoError | Outcome::NxDomain),
        };
        let there = Outcome::ALL.iter().zip(seen.outcomes).filter(|(_, questions)| *questions > 0);
        let Histogram { buckets, .. } = &seen.answers;
        (seen.asked > 0).then(|| Self {
            asked: seen.asked,
            outcomes: there.map(came).collect(),
            p50_us: upper_end_us(buckets, 50),
            p99_us: upper_end_us(buckets, 99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_and_times_are_of_what_was_asked() {
        let mut seen = flows::Questions::default();
        assert_eq!(Questions::of(&seen), None);
        seen.asked = 103;
        let only_asked = Questions::of(&seen).unwrap();
        assert_eq!((only_asked.p50_us, only_asked.outcomes.len()), (None, 0), "they wait");
        seen.outcomes[Outcome::NoError as usize] = 99;
        seen.outcomes[Outcome::ServFail as usize] = 1;
        seen.outcomes[Outcome::Unanswered as usize] = 3;
        seen.answers.buckets[8] = 98;
        seen.answers.buckets[16] = 2;
        let of = Questions::of(&seen).unwrap();
        assert_eq!((of.asked, of.p50_us, of.p99_us), (103, Some(256), Some(65_536)));
        let outcomes: Vec<_> = of.outcomes.iter().map(|it| (it.outcome, it.questions, it.failed)).collect();
        assert_eq!(outcomes, [("noerror", 99, false), ("servfail", 1, true), ("unanswered", 3, true)]);
    }
}
