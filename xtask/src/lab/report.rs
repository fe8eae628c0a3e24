//! The table: test binaries by kernels, and below it every skip and every failure.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;

use super::transcript::{Binary, End, Outcome, Verdict};

const LAST_LINES: usize = 40;

#[derive(Debug, Default)]
pub(crate) struct Report {
    kernels: Vec<(String, Result<Verdict, String>)>,
}

impl Report {
    pub(crate) fn add(&mut self, kernel: &str, verdict: Result<Verdict>) {
        self.kernels.push((kernel.to_owned(), verdict.map_err(|error| format!("{error:#}"))));
    }

    /// Every test of every kernel passed, or was skipped with leave.
    pub(crate) fn is_green(&self) -> bool {
        self.kernels.iter().all(|(_, verdict)| {
            verdict.as_ref().is_ok_and(|verdict| {
                let judged = verdict.binaries.iter().any(|(_, binary)| !binary.tests.is_empty());
                let good = verdict.binaries.iter().all(|(_, binary)| binary.is_green());
                verdict.end == End::Done && judged && good
            })
        })
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .kernels
            .iter()
            .filter_map(|(_, verdict)| verdict.as_ref().ok())
            .flat_map(|verdict| verdict.binaries.iter().map(|(name, _)| name.as_str()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.names().iter().map(|name| name.len()).max().unwrap_or(0).max(6);
        write!(f, "{:width$}", "")?;
        for (kernel, _) in &self.kernels {
            write!(f, "  {kernel:22}")?;
        }
        writeln!(f)?;
        for name in self.names() {
            write!(f, "{name:width$}")?;
            for (_, verdict) in &self.kernels {
                let binary = verdict.as_ref().ok().and_then(|verdict| find(verdict, name));
                write!(f, "  {:22}", binary.map_or_else(|| "-".to_owned(), cell))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn find<'a>(verdict: &'a Verdict, name: &str) -> Option<&'a Binary> {
    verdict.binaries.iter().find(|(known, _)| known == name).map(|(_, binary)| binary)
}

/// What became of a test binary, in a few words.
pub(crate) fn cell(binary: &Binary) -> String {
    let passed = binary.count(|outcome| *outcome == Outcome::Passed);
    let failed = binary.count(|outcome| *outcome == Outcome::Failed);
    let skipped = binary.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let parts = [(passed, "ok"), (skipped, "skip"), (failed, "FAILED")];
    let mut text: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if binary.code.is_none() {
        text.push("NO END".to_owned());
    } else if binary.code != Some(0) && failed == 0 {
        text.push(format!("EXIT {}", binary.code.unwrap_or(-1)));
    }
    let seconds = binary.seconds.map(|seconds| format!(", {seconds} s")).unwrap_or_default();
    text.join(", ") + &seconds
}

fn indented(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    lines.iter().try_for_each(|line| writeln!(f, "      {line}"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table(f)?;
        for (kernel, verdict) in &self.kernels {
            let verdict = match verdict {
                Ok(verdict) => verdict,
                Err(reason) => {
                    writeln!(f, "{kernel}: not booted: {reason}")?;
                    continue;
                }
            };
            let mut skips: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (name, binary) in &verdict.binaries {
                for (test, outcome) in &binary.tests {
                    if let Outcome::Skipped(reason) = outcome {
                        skips.entry(reason).or_default().push(format!("{name}::{test}"));
                    }
                }
                if !binary.is_green() {
                    writeln!(f, "{kernel}: {name}: {}", cell(binary))?;
                    let from = binary.output.iter().position(|line| line == "failures:").unwrap_or(0);
                    let tail = binary.output.len().saturating_sub(LAST_LINES);
                    let cut = if binary.code.is_some() { from } else { tail };
                    indented(f, &binary.output[cut..])?;
                }
            }
            for (reason, tests) in skips {
                writeln!(f, "{kernel}: skipped {reason}: {}", tests.join(", "))?;
            }
            match &verdict.end {
                End::Done => continue,
                End::Failed(reason) => writeln!(f, "{kernel}: the guest gave up: {reason}")?,
                End::Hung => writeln!(f, "{kernel}: HUNG; the console's last lines:")?,
                End::Died => writeln!(f, "{kernel}: DIED; the console's last lines:")?,
            }
            indented(f, &verdict.console.lines().map(str::to_owned).collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
