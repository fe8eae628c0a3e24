//! Waiting for something that nobody announces. Never without an end: a test that hangs tells nobody what it waits for.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until it is so.
///
/// # Panics
/// With `what` when it is not so within this time.
pub fn until(what: &str, within: Duration, met: impl FnMut() -> bool) {
    until_looking(LOOK_EVERY, what, within, met);
}

/// The same where looking costs more, or changes are quick.
pub fn until_looking(every: Duration, what: &str, within: Duration, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !met() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(every);
    }
}

/// Looks until there is something, and returns it. What goes wrong while looking is returned as well.
pub fn until_some<T>(
    every: Duration,
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(begun.elapsed() < within, "{what}: not within {within:?}");
        thread::sleep(every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_it_is_so() {
        let mut looks = 0;
        until_looking(Duration::ZERO, "three looks", Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        });
    }

    #[test]
    #[should_panic(expected = "not within 30ms: what never is")]
    fn it_ends_when_it_never_is() {
        until("what never is", Duration::from_millis(30), || false);
    }
}
