//! Questions for names over UDP, as the packets of a workload's sockets show them: what came of each, and when. The
//! workload asks the agent; agent and sidecar ask resolvers.

use crate::{
    addr::Addr,
    flow::{BUCKETS, Histogram},
    named::named,
    places::{PLACES, mark},
};

/// Nanoseconds that a question waits for its answer. What comes later is none.
pub const PATIENCE: u64 = 5_000_000_000;
/// Sets of places of each workload: so many times [`PLACES`] questions wait at once.
pub const ASKED_SETS: u32 = 32;
/// Resolvers of a workload that are told apart: those its sidecar asked first.
pub const RESOLVERS: usize = 4;

/// Who is asked, as a number.
pub mod who {
    /// The agent, by the workload.
    pub const AGENT: usize = 0;
    /// The first of the resolvers that are told apart.
    pub const FIRST: usize = 1;
    /// All other resolvers.
    pub const OTHERS: usize = FIRST + super::RESOLVERS;
    pub const COUNT: usize = OTHERS + 1;
}

/// Bits of a question's mark that say who is asked.
const WHO: u64 = 7;

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

    /// What a question and its answer have in common: its number, the port of who asks, and the server. `whom`: see
    /// [`who`].
    #[inline(always)]
    pub const fn mark(self, port: u16, server: [u64; 2], whom: usize) -> u64 {
        let [a, b] = server;
        // Never 0: that is a place where nobody waits.
        mark([(port as u64) << 16 | self.id as u64, a, b]) & !WHO | (whom as u64 + 1)
    }
}

/// Who is asked, by the mark of a question.
#[inline(always)]
pub const fn whom_of(mark: u64) -> usize {
    (mark & WHO).wrapping_sub(1) as usize
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

/// The resolvers of a workload that are told apart, in the order in which they were asked first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Resolvers {
    /// Whoever writes the mark writes the address next. 0: free.
    pub marks: [u64; RESOLVERS],
    pub addresses: [[u64; 2]; RESOLVERS],
}

impl Resolvers {
    pub const fn mark_of(address: [u64; 2]) -> u64 {
        mark(address)
    }

    /// By its number. None: there is no such, or it is being written.
    pub fn address(&self, whom: usize) -> Option<Addr> {
        let at = whom.checked_sub(who::FIRST)?;
        let words = *self.addresses.get(at)?;
        (self.marks[at] == Self::mark_of(words)).then(|| Addr::of_words(words))
    }
}

/// A workload's questions to one server, since it was attached. Not per CPU: names are not asked for that often.
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
const _: () = assert!(size_of::<Resolvers>() == 24 * RESOLVERS);
const _: () = assert!((who::COUNT as u64) < WHO);
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
        let [server, another] = [[9, 9, 9, 9], [9, 9, 9, 8]].map(|address| Addr::v4(address).words());
        let mark = question.mark(4711, server, who::OTHERS);
        assert_eq!(mark, answer.mark(4711, server, who::OTHERS));
        for other in [
            answer.mark(4712, server, who::OTHERS),
            answer.mark(4711, another, who::OTHERS),
            answer.mark(4711, server, who::FIRST),
            Head::of([7, 8, 0x81, 0x80]).mark(4711, server, who::OTHERS),
        ] {
            assert_ne!(mark, other);
        }
        for whom in 0..who::COUNT {
            assert_eq!(whom_of(question.mark(4711, server, whom)), whom);
        }
        assert!(whom_of(0) >= who::COUNT, "nobody is asked");
    }

    #[test]
    fn a_resolver_that_is_being_written_has_no_address() {
        let words = Addr::v4([10, 96, 0, 10]).words();
        let mut resolvers = Resolvers::default();
        assert!((0..=who::COUNT).all(|whom| resolvers.address(whom).is_none()));
        resolvers.marks[1] = Resolvers::mark_of(words);
        assert_eq!(resolvers.address(who::FIRST + 1), None);
        resolvers.addresses[1] = words;
        assert_eq!(resolvers.address(who::FIRST + 1), Some(Addr::v4([10, 96, 0, 10])));
    }

    #[test]
    fn a_question_is_over_after_its_time() {
        let asked = Asked { mark: 1, at: 10 };
        assert!(!asked.is_over(10 + PATIENCE) && asked.is_over(11 + PATIENCE));
        assert!(!asked.is_over(9), "by the clock of another processor");
        assert!(!Asked { mark: 0, ..asked }.is_over(u64::MAX) && !Asked { at: 0, ..asked }.is_over(u64::MAX));
    }
}
