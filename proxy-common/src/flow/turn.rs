//! Turnarounds: from the last byte of a request to the first of its answer, as one end of a connection sees them pass.
//!
//! What a client sends until its server sends is a request, and what the server sends then the answer. That is so of HTTP/1
//! and of most protocols that ask and answer; of several requests at a time on one connection (HTTP/2, gRPC) it is not.

/// Of each connection so many requests are measured from the first on.
pub const FIRST: u32 = 16;
/// Of those after them about one in so many; it stands for as many.
pub const ONE_IN: u8 = 16;

/// For how many requests of a connection this one stands, by its number from 1; 0: it is not measured. Those that are
/// measured lie 13, 21 or 34 apart: what comes again and again every few requests is neither always met nor never.
#[inline(always)]
pub const fn weight(number: u32) -> u8 {
    if number <= FIRST {
        1
    } else if number.wrapping_mul(0x9e37_79b1) >> 28 == 0 {
        ONE_IN
    } else {
        0
    }
}

/// So many segments with bytes, both ways, are of the first requests of a connection.
const FIRST_SEGMENTS: u32 = 2 * FIRST;
/// And so many more may be of their answers.
const ANSWERS_SEGMENTS: u32 = FIRST_SEGMENTS + 64;

/// A segment with bytes, and where the connection stood when it passed: what is sampled where requests are not counted,
/// because most packets are not worth a look at what is known of their connection.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Numbers of the first byte, and behind the last one.
    pub seq: u32,
    pub end: u32,
    /// The next number the other way.
    pub other: u32,
    /// Segments with bytes before this one, both ways.
    pub before: u32,
}

impl Segment {
    /// For how many requests the one stands that this is the last segment of, or (`is_request` false) whose answer's first;
    /// 0: it is not measured. A request is told by where it ends and its answer begins, so that both segments, at both ends,
    /// come to the same.
    #[inline(always)]
    pub const fn weight(&self, is_request: bool) -> u8 {
        let (from, few) = if is_request { (self.end, FIRST_SEGMENTS) } else { (self.seq, ANSWERS_SEGMENTS) };
        if self.before < few {
            1
        } else if mixed(from.wrapping_add(self.other)) >> 28 == 0 {
            ONE_IN
        } else {
            0
        }
    }

    /// Whether it may be of a request that is measured, whoever asks.
    #[inline(always)]
    pub const fn is_looked_at(&self) -> bool {
        self.weight(true) != 0 || self.weight(false) != 0
    }
}

/// Requests and answers of one size lie evenly; this does not.
#[inline(always)]
const fn mixed(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x85eb_ca6b);
    let number = (number ^ number >> 13).wrapping_mul(0xc2b2_ae35);
    number ^ number >> 16
}

/// What an end of a connection knows of the request it is at. Its own sends and the other end's write it, without a lock:
/// who asks and answers by turns takes turns here too. Of one that does not, a measurement may be lost or be of another
/// request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Turn {
    /// When bytes of the request passed last, if it is measured; monotonic, nanoseconds.
    pub at: u64,
    /// Requests so far, of which anything is known, wrapping.
    pub number: u32,
    /// [`super::Class`] of the connection.
    pub class: u8,
    /// Bits of [`turn_bit`].
    pub bits: u8,
    /// For how many the request stands that is measured.
    pub weight: u8,
    pub reserved: u8,
}

/// Bits of [`Turn::bits`].
pub mod turn_bit {
    /// Turnarounds of this end are measured: without it nothing happens.
    pub const TIMED: u8 = 1 << 0;
    /// The end that accepted: it is asked.
    pub const SERVER: u8 = 1 << 1;
    /// A request has begun, and its answer has not.
    pub const ASKED: u8 = 1 << 2;
    /// It is one that is measured.
    pub const MEASURED: u8 = 1 << 3;
}

/// A turnaround.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    pub ns: u64,
    /// For how many requests it stands.
    pub weight: u64,
}

impl Turn {
    /// Of no end, or of one that is not measured.
    pub const OFF: Self = Self { at: 0, number: 0, class: 0, bits: 0, weight: 0, reserved: 0 };

    /// An end before its first request.
    #[inline(always)]
    pub const fn new(class: u8, is_server: bool) -> Self {
        let bits = turn_bit::TIMED | if is_server { turn_bit::SERVER } else { 0 };
        Self { class, bits, ..Self::OFF }
    }

    #[inline(always)]
    pub const fn is_server(&self) -> bool {
        self.bits & turn_bit::SERVER != 0
    }

    /// Whether bytes that this end sends (or receives) now change anything here. Of most they do not.
    #[inline(always)]
    pub const fn heeds(&self, sends: bool) -> bool {
        if self.bits & turn_bit::TIMED == 0 {
            return false;
        }
        let is_at_rest = self.bits & turn_bit::ASKED == 0;
        if sends == self.is_server() {
            !is_at_rest
        } else {
            is_at_rest || self.bits & turn_bit::MEASURED != 0
        }
    }

    /// This end sends bytes, or receives them. The clock is read only where it has to be. `stands_for`: how many requests
    /// this one stands for; none: its number says so.
    #[inline(always)]
    pub fn passes(&mut self, sends: bool, stands_for: Option<u8>, now: impl Fn() -> u64) -> Option<Measured> {
        let is_chosen = sends != self.is_server() && stands_for.is_some();
        if self.bits & turn_bit::TIMED == 0 || !(self.heeds(sends) || is_chosen) {
            return None;
        }
        if sends == self.is_server() {
            let is_measured = self.bits & turn_bit::MEASURED != 0;
            self.bits &= !(turn_bit::ASKED | turn_bit::MEASURED);
            return is_measured
                .then(|| Measured { ns: now().saturating_sub(self.at), weight: self.weight.into() });
        }
        if self.bits & turn_bit::ASKED == 0 {
            self.number = self.number.wrapping_add(1);
            self.weight = stands_for.unwrap_or(weight(self.number));
            let measured = if self.weight == 0 { 0 } else { turn_bit::MEASURED };
            self.bits |= turn_bit::ASKED | measured;
        } else if let Some(weight) = stands_for {
            // What was asked before may have had an answer that nobody looked at.
            self.weight = weight;
            self.bits |= turn_bit::MEASURED;
        }
        if self.bits & turn_bit::MEASURED != 0 {
            self.at = now();
        }
        None
    }
}

const _: () = assert!(size_of::<Turn>() == 16);

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::{super::Class, *};

    /// An end, and a clock that goes a microsecond forward at each look.
    struct End {
        turn: Turn,
        looks: Cell<u64>,
    }

    impl End {
        fn new(is_server: bool) -> Self {
            Self { turn: Turn::new(Class::Inbound as u8, is_server), looks: Cell::new(0) }
        }

        fn passes(&mut self, sends: bool) -> Option<Measured> {
            let now = || {
                self.looks.set(self.looks.get() + 1);
                self.looks.get() * 1000
            };
            self.turn.passes(sends, None, now)
        }
    }

    #[test]
    fn a_request_is_measured_from_its_last_byte_to_the_answers_first() {
        for is_server in [false, true] {
            let mut end = End::new(is_server);
            for _ in 0..3 {
                assert_eq!(end.passes(!is_server), None, "a part of the request");
            }
            assert_eq!(end.passes(is_server), Some(Measured { ns: 1000, weight: 1 }));
            assert_eq!(end.passes(is_server), None, "the rest of the answer");
            assert_eq!(end.looks.get(), 4);
        }
    }

    #[test]
    fn a_server_that_speaks_first_answers_nothing() {
        let mut end = End::new(true);
        assert_eq!((end.passes(true), end.looks.get(), end.turn.number), (None, 0, 0));
        end.passes(false);
        assert!(end.passes(true).is_some());
    }

    #[test]
    fn an_end_that_is_not_measured_stays_as_it_is() {
        let mut end = End { turn: Turn::OFF, looks: Cell::new(0) };
        for sends in [false, true, false] {
            assert_eq!(end.passes(sends), None);
        }
        assert_eq!((end.turn, end.looks.get()), (Turn::OFF, 0));
    }

    #[test]
    fn most_requests_of_a_long_connection_are_counted_without_a_look_at_the_clock() {
        let mut end = End::new(false);
        let (mut measured, mut stand_for) = (0, 0);
        for number in 1..=100_000u32 {
            end.passes(true);
            let found = end.passes(false);
            assert_eq!(found.map_or(0, |it| it.weight), weight(number).into());
            measured += u64::from(found.is_some());
            stand_for += found.map_or(0, |it| it.weight);
        }
        assert_eq!(end.turn.number, 100_000);
        assert_eq!(end.looks.get(), 2 * measured);
        assert!((6_200..6_300).contains(&measured), "{measured}");
        assert!((99_900..100_100).contains(&stand_for), "{stand_for}");
    }

    /// Every third, every eighth and every sixteenth request have their share of the sample.
    #[test]
    fn what_comes_again_every_few_requests_has_its_share_of_the_sample() {
        for period in 2..=40u32 {
            let of = |rest: u32| -> u64 {
                (FIRST + 1..200_000)
                    .filter(|number| number % period == rest)
                    .map(|it| u64::from(weight(it)))
                    .sum()
            };
            let even = 200_000 / u64::from(period);
            for rest in 0..period {
                assert!(
                    of(rest) * 10 > even * 8 && of(rest) * 10 < even * 12,
                    "{rest} of {period}: {}",
                    of(rest)
                );
            }
        }
    }

    /// Both segments of an exchange, seen at both ends.
    fn exchange(request_end: u32, answer_begin: u32, before: u32) -> [u8; 2] {
        let request =
            Segment { seq: request_end.wrapping_sub(90), end: request_end, other: answer_begin, before };
        let answer = Segment {
            seq: answer_begin,
            end: answer_begin.wrapping_add(200),
            other: request_end,
            before: before + 1,
        };
        assert!(request.is_looked_at() >= (request.weight(true) > 0));
        assert!(answer.is_looked_at() >= (answer.weight(false) > 0));
        [request.weight(true), answer.weight(false)]
    }

    #[test]
    fn a_request_and_its_answer_are_sampled_together() {
        for number in 0..FIRST {
            assert_eq!(exchange(7 + number * 90, 9 + number * 200, number * 2), [1, 1]);
        }
        // Of one size, of either way alone (the other one is redirected), and of odd ones.
        for (up, down) in [(90, 200), (90, 0), (0, 200), (61, 1 << 20), (1, 1)] {
            let (mut measured, mut stand_for) = (0u32, 0);
            for number in 1..=100_000u32 {
                let (request_end, answer_begin) =
                    ((u32::MAX - 500).wrapping_add(number.wrapping_mul(up)), number.wrapping_mul(down));
                let [request, answer] = exchange(request_end, answer_begin, 1000);
                assert_eq!(request, answer);
                measured += u32::from(request > 0);
                stand_for += u32::from(request);
            }
            assert!((5_600..6_900).contains(&measured), "{up} {down}: {measured}");
            assert_eq!(stand_for, measured * u32::from(ONE_IN));
        }
    }

    #[test]
    fn the_first_requests_that_are_asked_in_segments_all_count() {
        let answer = Segment { seq: 1, end: 2, other: 3, before: FIRST_SEGMENTS + 9 };
        assert_eq!((answer.weight(false), Segment { before: 0, ..answer }.weight(true)), (1, 1));
    }

    #[test]
    fn a_request_whose_answer_nobody_looked_at_gives_way_to_the_next() {
        let mut turn = Turn::new(0, true);
        assert_eq!(turn.passes(false, Some(1), || 1_000), None);
        assert_eq!(turn.passes(false, Some(ONE_IN), || 9_000), None);
        assert_eq!(turn.passes(true, Some(ONE_IN), || 9_500), Some(Measured { ns: 500, weight: 16 }));
    }
}
