//! What was checked, and how it went.

use std::fmt;

use anyhow::Result;
use proxy_core::exit::{Class, Failure};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    Pass,
    Fail,
    /// There was nothing to check, for the reason in the detail.
    Skip,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub name: &'static str,
    pub outcome: StepOutcome,
    pub detail: String,
}

/// All steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub workload: Option<String>,
    pub steps: Vec<Step>,
}

impl Report {
    pub(super) fn pass(&mut self, name: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { name, outcome: StepOutcome::Pass, detail: detail.into() });
    }

    pub(super) fn fail(&mut self, name: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { name, outcome: StepOutcome::Fail, detail: detail.into() });
    }

    pub(super) fn skip(&mut self, name: &'static str, detail: impl Into<String>) {
        self.steps.push(Step { name, outcome: StepOutcome::Skip, detail: detail.into() });
    }

    /// `Ok` carries what passed, `Err` why it failed.
    pub(super) fn add(&mut self, name: &'static str, result: Result<String>) {
        match result {
            Ok(detail) => self.pass(name, detail),
            Err(error) => self.fail(name, format!("{error:#}")),
        }
    }

    pub fn passed(&self) -> bool {
        self.first_failure().is_none()
    }

    fn first_failure(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.outcome == StepOutcome::Fail)
    }

    /// An error of class [`Class::Verification`] that names the first failing step.
    pub fn result(&self) -> Result<()> {
        match self.first_failure() {
            None => Ok(()),
            Some(step) => Err(Failure::error(
                Class::Verification,
                format!("verification failed at step {}: {}", step.name, step.detail),
            )),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
        for step in &self.steps {
            let outcome = match step.outcome {
                StepOutcome::Pass => "pass",
                StepOutcome::Fail => "FAIL",
                StepOutcome::Skip => "skip",
            };
            writeln!(f, "{outcome}  {:<width$}  {}", step.name, step.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failing_step_is_named() {
        let mut report = Report::default();
        report.pass("netns", "alive");
        report.skip("inbound-ipv6", "no IPv6 rules");
        assert!(report.result().is_ok());
        report.fail("programs", "connect4 is detached");
        report.fail("outbound-ipv4", "refused");
        let error = report.result().unwrap_err();
        assert_eq!(Class::of(&error), Class::Verification);
        assert_eq!(error.to_string(), "verification failed at step programs: connect4 is detached");
        assert!(report.to_string().contains("FAIL  programs       connect4 is detached\n"), "{report}");
    }
}
