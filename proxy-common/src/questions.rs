//! Questions to the agent over UDP, as the packets of a workload's sockets show them: what came of each, and when.

use crate::{
    flow::{BUCKETS, Histogram},
    named::named,
    places::{PLACES, mark},
};

/// Nanoseconds that a question waits for its answer. What comes later is none.
pub const PATIENCE: u64 = 5_000_000_000;
/// Sets of places of each workload: so many times [`PLACES`] questions wait at once.
pub const ASKED_SETS: u32 = 16;

named! {
    /// What came of a question.
    Outcome {
        NoError = "noerror", "answered";
        NxDomain = "nxdomain", "there is no such name";
        ServFail = "servfail", "the resolver has failed";
        Refused = "refused", "the resolver has refused";
        Other = "other", "another error (RFC 1035: RCODE)";
        Unanswered = "unanswered", "asked again, or no answer within five seconds";
    }
}

impl Outcome {
    /// By the code in an answer.
    #[inline(always)]
    pub const fn of_code(code: u8) -> Self {
        match code {
            0 => Self::NoError,
            2 => Self::ServFail,
            3 => Self::NxDomain,
            5 => Self::Refused,
            _ => Self::Other,
        }
    }
}

/// What the first words of a message say (RFC 1035, 4.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    id: u16,
    pub is_answer: bool,
    code: u8,
}

impl Head {
    #[inline(always)]
    pub const fn of([a, b, flags, code]: [u8; 4]) -> Self {
        Self { id: u16::from_be_bytes([a, b]), is_answer: flags & 0x80 != 0, code: code & 0xf }
    }

    #[inline(always)]
    pub const fn outcome(self) -> Outcome {
        Outcome::of_code(self.code)
    }

    /// What a question and its answer have in common: its number, and the port of who asks.
    #[inline(always)]
    pub const fn mark(self, port: u16, is_v4: bool) -> u64 {
        mark([(is_v4 as u64) << 32 | (port as u64) << 16 | self.id as u64])
    }
}

/// A question that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Asked {
    /// 0: nobody waits here.
    pub mark: u64,
    /// Nanoseconds since the machine started; 0: it is being written.
    pub at: u64,
}

impl Asked {
    /// Whether nobody waits for its answer any more.
    #[inline(always)]
    pub const fn is_over(&self, now: u64) -> bool {
        self.mark != 0 && self.at != 0 && now.saturating_sub(self.at) > PATIENCE
    }
}

/// Of one workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct AskedSet(pub [Asked; PLACES]);

/// A workload's questions, since it was attached. Not per CPU: names are not asked for that often.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Questions {
    pub asked: u64,
    /// By [`Outcome`].
    pub outcomes: [u64; Outcome::COUNT],
    /// How long answers took.
    pub answers: Histogram,
}

const _: () = assert!(size_of::<AskedSet>() == 16 * PLACES);
const _: () = assert!(size_of::<Questions>() == 8 * (1 + Outcome::COUNT + BUCKETS + 1));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_the_message_is() {
        let (question, answer) = (Head::of([0x12, 0x34, 0x01, 0x20]), Head::of([0x12, 0x34, 0x81, 0x83]));
        assert_eq!((question.is_answer, answer.is_answer), (false, true));
        assert_eq!(answer.outcome(), Outcome::NxDomain);
        for (code, outcome) in [(0, "noerror"), (1, "other"), (2, "servfail"), (5, "refused"), (15, "other")]
        {
            assert_eq!(Head::of([0, 0, 0x80, 0x80 | code]).outcome().name(), outcome);
        }
    }

    #[test]
    fn an_answer_has_the_mark_of_its_question_and_no_other() {
        let [question, answer] = [[7, 7, 1, 0], [7, 7, 0x81, 0x80]].map(Head::of);
        let mark = question.mark(4711, true);
        assert_eq!(mark, answer.mark(4711, true));
        for other in
            [answer.mark(4712, true), answer.mark(4711, false), Head::of([7, 8, 0x81, 0x80]).mark(4711, true)]
        {
            assert_ne!(mark, other);
        }
    }

    #[test]
    fn a_question_is_over_after_its_time() {
        let asked = Asked { mark: 1, at: 10 };
        assert!(!asked.is_over(10 + PATIENCE) && asked.is_over(11 + PATIENCE));
        assert!(!asked.is_over(9), "by the clock of another processor");
        assert!(!Asked { mark: 0, ..asked }.is_over(u64::MAX) && !Asked { at: 0, ..asked }.is_over(u64::MAX));
    }
}
