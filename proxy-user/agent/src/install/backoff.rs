//! How often we write what somebody else writes otherwise.

use std::time::{Duration, Instant};

/// So many times in a row at once: an update of the network's owner may write more than once.
const AT_ONCE: u32 = 5;

/// Then after a second, two, four, and no longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// After so long without, it is a new row.
const CALM: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Backoff {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// Before when not to write again. None: now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        let beyond = self.in_a_row.checked_sub(AT_ONCE)?;
        let wait = Duration::from_secs(1 << beyond.min(5)).min(LONGEST);
        self.last.map(|last| last + wait).filter(|until| *until > now)
    }

    pub(super) fn written(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) > CALM) {
            self.in_a_row = 0;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_and_then_less_and_less_often() {
        let (begin, mut backoff) = (Instant::now(), Backoff::default());
        let mut now = begin;
        let mut waits = Vec::new();
        for _ in 0..13 {
            let until = backoff.until(now).unwrap_or(now);
            waits.push((until - now).as_secs());
            now = until;
            backoff.written(now);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(backoff.until(now + LONGEST), None);
    }

    #[test]
    fn who_was_calm_begins_anew() {
        let (begin, mut backoff) = (Instant::now(), Backoff::default());
        (0..20).for_each(|_| backoff.written(begin));
        assert!(backoff.until(begin).is_some());
        let later = begin + CALM + Duration::from_secs(1);
        backoff.written(later);
        assert_eq!(backoff.until(later), None);
    }
}
