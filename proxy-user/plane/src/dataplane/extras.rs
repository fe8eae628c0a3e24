//! What a workload gets besides capture. Capture does not depend on it: what the kernel refuses of it is given up, with
//! the reason, and the attach goes on without.

use anyhow::Result;
use proxy_common::names::program;
use proxy_core::{
    config::Accelerate,
    exit::{Class, Failure},
};

use super::{acceleration::Plan, observation::Observation, refused::Refused, warning::Warning};
use crate::kernel::version::KernelVersion;

/// Each is there, or says why not.
pub(super) struct Extras {
    pub(super) plan: Plan,
    pub(super) observed: Observation,
    /// Why turnarounds are not measured where connections are observed.
    pub(super) not_timed: Option<String>,
    pub(super) require: bool,
    /// Observation was given up for a program that capture needs too, to see whether it is the cause.
    suspect: Option<String>,
}

/// Programs of one part alone.
const OF_OBSERVATION: [&str; 4] =
    [program::FLOW_OPS, program::FLOW_RELEASE, program::FLOW_LIST, program::FLOW_SUM];
const OF_TIMING: [&str; 2] = [program::FLOW_IN, program::FLOW_OUT];
const OF_ACCELERATION: [&str; 2] = [program::DISPATCH, program::REDIRECT];

impl Extras {
    pub(super) fn new(mode: Accelerate, plan: Plan, observed: Observation) -> Self {
        Self { plan, observed, not_timed: None, require: mode == Accelerate::Require, suspect: None }
    }

    /// Whether turnarounds are measured.
    pub(super) const fn times(&self) -> bool {
        self.observed.is_on() && self.not_timed.is_none()
    }

    /// Gives up what the refused program belongs to. An error: the failure has another cause, or nothing is left to
    /// give up.
    pub(super) fn without_cause_of(&mut self, error: anyhow::Error) -> Result<()> {
        let Some(refused) = Refused::behind(&error) else { return Err(error) };
        let name = refused.program.clone();
        let reason = format!("Linux {}: {error:#}", KernelVersion::current()?);
        if name == program::SPLICE_GUARD && self.plan.guards() {
            self.plan.findings.unguarded = Some(reason);
            return Ok(());
        }
        if OF_TIMING.contains(&&*name) && self.times() {
            self.not_timed = Some(reason);
            return Ok(());
        }
        if OF_OBSERVATION.contains(&&*name) && self.observed.is_on() {
            self.observed = Observation::not(reason);
            return Ok(());
        }
        if OF_ACCELERATION.contains(&&*name) && self.plan.is_on() {
            return self.not_accelerated(reason);
        }
        if self.observed.is_on() {
            self.suspect = Some(name);
            self.observed = Observation::not(reason);
            return Ok(());
        }
        if self.plan.is_on() {
            // Observation was not it.
            if self.suspect.take_if(|suspect| *suspect == name).is_some() {
                self.observed = Observation::on();
            }
            return self.not_accelerated(reason);
        }
        Err(error)
    }

    fn not_accelerated(&mut self, reason: String) -> Result<()> {
        if self.require {
            return Err(Failure::error(
                Class::Unavailable,
                format!("--accelerate require: {reason}; use --accelerate safe-readers to go without"),
            ));
        }
        self.plan = Plan::not(reason);
        Ok(())
    }

    /// What was asked for and is not had.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> {
        let why = str::to_owned;
        let accelerated = self.plan.missing().map(|it| Warning::NotAccelerated { why: why(it) });
        let observed = self.observed.missing().map(|it| Warning::NotObserved { why: why(it) });
        // Where nothing is observed, that says it.
        let timed = self.not_timed.as_deref().filter(|_| self.observed.is_on());
        let timed = timed.map(|it| Warning::NotTimed { why: why(it) });
        accelerated.into_iter().chain(observed).chain(timed)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::dataplane::refused::Step;

    fn both(mode: Accelerate) -> Extras {
        let plan = Plan { reason: None, ..Plan::not(String::new()) };
        Extras::new(mode, plan, Observation::on())
    }

    fn refusal(program: &str) -> anyhow::Error {
        anyhow::Error::new(Refused::to(Step::Load, program, std::io::Error::from_raw_os_error(libc::EPERM)))
            .context("on /sys/fs/cgroup/pod")
    }

    /// Which are left after the kernel has refused these programs in turn: acceleration, observation.
    #[rstest]
    #[case::of_observation(&[program::FLOW_OPS], (true, false))]
    #[case::of_acceleration(&[program::REDIRECT], (false, true))]
    #[case::observation_was_it(&[program::CONNECT4], (true, false))]
    #[case::acceleration_was_it(&[program::SOCK_OPS, program::SOCK_OPS], (false, true))]
    #[case::both_were_it(&[program::SOCK_OPS, program::CONNECT4], (false, false))]
    #[case::one_each(&[program::FLOW_LIST, program::DISPATCH], (false, false))]
    fn what_is_refused_is_given_up(#[case] programs: &[&str], #[case] left: (bool, bool)) {
        let mut extras = both(Accelerate::SafeReaders);
        for program in programs {
            extras.without_cause_of(refusal(program)).unwrap();
        }
        assert_eq!((extras.plan.is_on(), extras.observed.is_on()), left);
        let warnings: Vec<String> = extras.warnings().map(|it| it.to_string()).collect();
        assert_eq!(warnings.len(), usize::from(!left.0) + usize::from(!left.1), "{warnings:?}");
        assert!(
            warnings.iter().all(|warning| programs.iter().any(|name| warning.contains(name))),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_kernel_that_shows_no_packets_leaves_the_records() {
        let mut extras = both(Accelerate::SafeReaders);
        extras.without_cause_of(refusal(program::FLOW_IN)).unwrap();
        assert!(extras.observed.is_on() && extras.plan.is_on() && !extras.times());
        let warnings: Vec<String> = extras.warnings().map(|it| it.to_string()).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(program::FLOW_IN), "{warnings:?}");
    }

    #[test]
    fn a_kernel_that_guards_nothing_accelerates_less() {
        let mut extras = both(Accelerate::SafeReaders);
        assert!(extras.plan.guards());
        extras.without_cause_of(refusal(program::SPLICE_GUARD)).unwrap();
        assert!(extras.observed.is_on() && extras.plan.is_on() && !extras.plan.guards());
    }

    #[test]
    fn capture_itself_is_not_given_up() {
        let mut extras = both(Accelerate::SafeReaders);
        let ends = (0..4).find_map(|_| extras.without_cause_of(refusal(program::CONNECT4)).err());
        assert!(format!("{:#}", ends.unwrap()).contains(program::CONNECT4));
        let other = extras.without_cause_of(anyhow::anyhow!("no such cgroup")).unwrap_err();
        assert_eq!(other.to_string(), "no such cgroup");
    }

    #[test]
    fn what_is_required_is_not_given_up() {
        let error = both(Accelerate::Require).without_cause_of(refusal(program::DISPATCH)).unwrap_err();
        assert!(error.to_string().starts_with("--accelerate require: "), "{error:#}");
        assert_eq!(Class::of(&error), Class::Unavailable);
    }
}
