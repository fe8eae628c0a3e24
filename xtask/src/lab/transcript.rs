//! What the guest said over its second serial port: lines of lab-init between the output of the tests.

use std::collections::BTreeMap;

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    /// lab-init gave up, and why.
    Failed(String),
    Hung,
    /// qemu ended first: a panic, usually.
    Died,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    /// With the reason it gave.
    Skipped(String),
}

/// One test binary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binary {
    pub(crate) tests: BTreeMap<String, Outcome>,
    /// None while it runs, or if it never ended.
    pub(crate) code: Option<i32>,
    /// How long it took, as libtest says.
    pub(crate) seconds: Option<u64>,
    /// Everything it printed.
    pub(crate) output: Vec<String>,
}

/// What became of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) end: End,
    /// In the order they ran.
    pub(crate) binaries: Vec<(String, Binary)>,
    /// The console's last lines, when it did not end well.
    pub(crate) console: String,
}

#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pending: Vec<u8>,
    binaries: Vec<(String, Binary)>,
    /// How many of them [`Transcript::newly_ended`] has told.
    told: usize,
    /// The test whose output follows, in the part libtest prints at the end.
    shown: Option<String>,
    end: Option<End>,
}

impl Transcript {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.pending);
                self.line(String::from_utf8_lossy(&line).trim_end());
            }
        }
    }

    /// The test binaries that ended since the last call.
    pub(crate) fn newly_ended(&mut self) -> &[(String, Binary)] {
        let since = self.told;
        // They run one after the other.
        self.told = self.binaries.iter().take_while(|(_, binary)| binary.code.is_some()).count();
        &self.binaries[since..self.told]
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.end.clone()
    }

    pub(crate) fn verdict(mut self, end: End, console: &str) -> Verdict {
        let rest = std::mem::take(&mut self.pending);
        self.line(String::from_utf8_lossy(&rest).trim_end());
        let console = if end == End::Done { String::new() } else { console.to_owned() };
        Verdict { end, binaries: self.binaries, console }
    }

    fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("@run ") {
            self.shown = None;
            self.binaries.push((name.to_owned(), Binary::default()));
            return;
        }
        if line == "@done" {
            self.end = Some(End::Done);
            return;
        }
        if let Some(reason) = line.strip_prefix("@failed ") {
            self.end = Some(End::Failed(reason.to_owned()));
            return;
        }
        let Some((_, binary)) = self.binaries.last_mut() else { return };
        if let Some(end) = line.strip_prefix("@end ") {
            binary.code = end.rsplit(' ').next().and_then(|code| code.parse().ok());
            return;
        }
        if line.is_empty() {
            return;
        }
        binary.output.push(line.to_owned());
        if line.starts_with("test result: ") {
            binary.seconds = seconds(line);
        } else if let Some(name) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.shown = Some(name.to_owned());
        } else if let Some((name, outcome)) = line.strip_prefix("test ").and_then(verdict_of) {
            binary.tests.insert(name, outcome);
        } else if let (Some(reason), Some(name)) = (line.strip_prefix("SKIPPED "), &self.shown)
            && binary.tests.get(name) == Some(&Outcome::Passed)
        {
            binary.tests.insert(name.clone(), Outcome::Skipped(reason.to_owned()));
        }
    }
}

/// `test result: ok. …; finished in 1.23s`
fn seconds(line: &str) -> Option<u64> {
    let (_, seconds) = line.rsplit_once("finished in ")?;
    seconds.split('.').next()?.parse().ok()
}

/// `name ... ok`
fn verdict_of(line: &str) -> Option<(String, Outcome)> {
    let (name, verdict) = line.rsplit_once(" ... ")?;
    let outcome = match verdict.split([',', ' ']).next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Skipped("ignored".to_owned()),
        _ => return None,
    };
    Some((name.to_owned(), outcome))
}

impl Binary {
    pub(crate) fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.tests.values().filter(|outcome| wanted(outcome)).count()
    }

    /// Ended well, and something was judged.
    pub(crate) fn is_green(&self) -> bool {
        self.code == Some(0) && self.count(|outcome| *outcome == Outcome::Failed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TALK: &str = "\n@run dns\n\nrunning 3 tests\ntest a ... ok\r\ntest b::case_1 ... ok\ntest c ... FAILED\n\n\
        successes:\n\n---- b::case_1 stdout ----\nSKIPPED (envoy): no Envoy\n\nfailures:\n\n---- c stdout ----\n\
        SKIPPED (x): not a skip, it failed\ntest result: FAILED. 2 passed; 1 failed; finished in 61.90s\n@end dns 101\n@run lab\ntest hangs";

    fn talk(end: End) -> Verdict {
        let mut transcript = Transcript::default();
        for chunk in TALK.as_bytes().chunks(7) {
            transcript.push(chunk);
        }
        assert_eq!(transcript.ended(), None);
        transcript.verdict(end, "Kernel panic")
    }

    #[test]
    fn skips_are_told_from_passes() {
        let verdict = talk(End::Hung);
        let (name, dns) = &verdict.binaries[0];
        assert_eq!((name.as_str(), dns.code, dns.is_green()), ("dns", Some(101), false));
        assert_eq!(dns.seconds, Some(61));
        let outcomes: Vec<&Outcome> = dns.tests.values().collect();
        let skipped = Outcome::Skipped("(envoy): no Envoy".to_owned());
        assert_eq!(outcomes, [&Outcome::Passed, &skipped, &Outcome::Failed]);
    }

    #[test]
    fn each_end_is_told_once() {
        let mut transcript = Transcript::default();
        let mut told = |line: &str| {
            transcript.push(line.as_bytes());
            transcript.newly_ended().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told("@run dns\ntest a ... ok\n"), Vec::<String>::new());
        assert_eq!(told("@end dns 0\n@run lab\n@end lab 0\n@run tproxy\n"), ["dns", "lab"]);
        assert_eq!(told("@end tproxy 1\n"), ["tproxy"]);
        assert_eq!(told("@done\n"), Vec::<String>::new());
    }

    #[test]
    fn a_hang_keeps_the_unfinished_line() {
        let verdict = talk(End::Died);
        let (_, lab) = &verdict.binaries[1];
        assert_eq!((lab.code, lab.output.as_slice()), (None, &["test hangs".to_owned()][..]));
        assert_eq!(verdict.console, "Kernel panic");
    }
}
