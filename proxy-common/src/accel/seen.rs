//! How the sockets of a program turned out to which nothing is redirected: may the next ones send in the map, and is it worth it?

/// So many sockets of such a program have to have been non-blocking, with a large answer, before the next ones enter. One is
/// not enough: a program may turn its socket blocking only for a request.
pub const SEEN: u8 = 3;
/// What is acknowledged of a large answer when one looks. What comes back over the stack has to be acknowledged by itself once
/// answers do not go that way, which costs what a small answer saves.
pub const LARGE: u64 = 16 << 10;
/// So often one looks at a socket.
pub const LOOKS: u32 = 8;
/// After so many sockets in a row without a large answer only some are looked at.
const SMALL_SOCKETS: u8 = 8;
/// One of so many.
const SAMPLE: u16 = 16;

/// How a socket turned out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turned {
    Blocking,
    /// Its first answers were small.
    Small,
    Large,
    /// It has left the map, for its answers were small after all.
    Left,
}

/// What is known by the sockets before: in the lower half how many turned out well, in the upper one how many small ones came
/// since; all bits: one was blocking.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Seen(u8);

impl Seen {
    const BLOCKING: Self = Self(u8::MAX);
    const COUNT: u8 = 0xf;
    const SMALL: u8 = 4;
    /// None was seen.
    pub const NONE: Self = Self(0);
    /// Enough were.
    pub const ENOUGH: Self = Self(SEEN);

    /// Whether the next ones enter.
    #[inline(always)]
    pub const fn is_enough(self) -> bool {
        self.0 & Self::COUNT == SEEN
    }

    /// Whether they stay out.
    #[inline(always)]
    pub const fn is_blocking(self) -> bool {
        self.0 == Self::BLOCKING.0
    }

    /// Whether the next one is worth a look; `any`: a number that is another one for each.
    #[inline(always)]
    pub const fn is_open(self, any: u16) -> bool {
        self.0 >> Self::SMALL < SMALL_SOCKETS || any.is_multiple_of(SAMPLE)
    }

    /// One more. One that was blocking is enough against all.
    #[inline(always)]
    pub const fn add(&mut self, turned: Turned) {
        if self.is_blocking() {
            return;
        }
        let (count, small) = (self.0 & Self::COUNT, self.0 >> Self::SMALL);
        *self = match turned {
            Turned::Blocking => Self::BLOCKING,
            Turned::Large if count < SEEN => Self(count + 1),
            Turned::Large => Self(SEEN),
            Turned::Small if small < SMALL_SOCKETS => Self(count | (small + 1) << Self::SMALL),
            Turned::Small => *self,
            Turned::Left => Self(SMALL_SOCKETS << Self::SMALL),
        };
    }
}

/// Whether a socket in the map that only sends has sent too little a time to gain.
#[inline(always)]
pub const fn sends_little(messages: u64, bytes: u64) -> bool {
    const TELLING: u64 = 32;
    const MEAN: u64 = 4096;
    messages >= TELLING && bytes < messages.saturating_mul(MEAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(turned: &[Turned]) -> Seen {
        let mut seen = Seen::default();
        turned.iter().for_each(|turned| seen.add(*turned));
        seen
    }

    #[test]
    fn large_answers_let_the_next_ones_in_until_one_has_left() {
        use Turned::{Large, Left, Small};
        assert!(!after(&[Large, Large]).is_enough());
        assert!(after(&[Large, Small, Large, Small, Large]).is_enough());
        assert!(after(&[Large, Large, Large, Small, Large]).is_enough());
        assert!(!after(&[Large, Large, Large, Left]).is_enough());
        assert!(after(&[Large, Large, Large, Left, Large, Large, Large]).is_enough());
    }

    #[test]
    fn one_that_blocked_is_enough_against_all() {
        use Turned::{Blocking, Large};
        let seen = after(&[Large, Blocking, Large, Large, Large]);
        assert!(seen.is_blocking() && !seen.is_enough());
    }

    #[test]
    fn of_a_server_of_small_answers_few_are_looked_at() {
        let looked_at = |seen: Seen| (0..160).filter(|any| seen.is_open(*any)).count();
        assert_eq!(looked_at(after(&[Turned::Small; 7])), 160);
        assert_eq!(looked_at(after(&[Turned::Small; 100])), 10);
        assert_eq!(looked_at(after(&[Turned::Left])), 10);
        let mut seen = after(&[Turned::Small; 100]);
        seen.add(Turned::Large);
        assert_eq!(looked_at(seen), 160);
    }

    #[test]
    fn little_is_a_small_mean_of_many() {
        assert!(!sends_little(31, 31));
        assert!(sends_little(32, 32 * 4096 - 1));
        assert!(!sends_little(32, 32 * 4096));
    }
}
