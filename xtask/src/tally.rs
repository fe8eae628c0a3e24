//! Counting what libtest reports.

use std::{collections::BTreeMap, fmt};

/// Sums of the `test result:` lines of a `cargo test` run.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
    /// Tests that could not run, by their reason; libtest counts them as passed.
    skipped: BTreeMap<String, u64>,
}

impl Tally {
    /// Takes one line of output; most are none of ours.
    pub(crate) fn line(&mut self, line: &str) {
        let Some(summary) = line.trim().strip_prefix("test result: ") else { return };
        for part in summary.split([';', '.']) {
            let Some((count, what)) = part.trim().split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    /// Takes what the tests noted: a line each, the reason.
    pub(crate) fn skipped(&mut self, notes: &str) {
        for why in notes.lines() {
            *self.skipped.entry(why.to_owned()).or_default() += 1;
        }
    }

    /// Those of another run as well.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        for (why, count) in &other.skipped {
            *self.skipped.entry(why.clone()).or_default() += count;
        }
    }

    /// Tests that ran at all.
    pub(crate) fn ran(&self) -> u64 {
        self.passed + self.failed
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped: u64 = self.skipped.values().sum();
        write!(
            f,
            "{} passed, {} failed, {} ignored",
            self.passed.saturating_sub(skipped),
            self.failed,
            self.ignored
        )?;
        for (why, count) in &self.skipped {
            write!(f, ", {count} skipped ({why})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn sums_over_binaries_and_skips_other_lines() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test lab::ipv6 ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 1.20s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "my own output: 9 passed; 9 failed",
        ] {
            tally.line(line);
        }
        assert_eq!((tally.passed, tally.failed, tally.ignored), (5, 1, 1));
        assert_eq!(tally.ran(), 6);
    }

    #[test]
    fn skipped_tests_have_not_passed() {
        let mut tally = Tally { passed: 5, ..Tally::default() };
        tally.skipped("cluster: no Go\ncluster: no Go\nroot: needs root\n");
        let said = "2 passed, 0 failed, 0 ignored, 2 skipped (cluster: no Go), 1 skipped (root: needs root)";
        assert_eq!(tally.to_string(), said);
    }
}
