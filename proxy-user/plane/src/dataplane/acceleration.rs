//! Whether a workload is accelerated: what the user wants, as far as the running kernel allows it.

use anyhow::Result;
use proxy_core::{
    config::{Accelerate, Acceleration},
    exit::{Class, Failure},
};

use super::{known::Known, self_test::Findings};

/// Not yet: it has not been shown to be no slower than without acceleration, nor to be in all what stock TCP is. Tests set
/// the bit in the map.
const UNKNOWN_SEND: bool = false;

/// What is done about it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Why not, if not.
    pub(super) reason: Option<String>,
    /// What the self-test found to differ from stock TCP.
    pub(super) findings: Findings,
    /// By the user.
    pub(super) switched_off: bool,
}

impl Plan {
    /// Decides for this kernel, before anything is touched. `require` turns a reason against it into an error.
    pub(super) fn of(wanted: &Acceleration, known: &Known) -> Result<Self> {
        if wanted.mode == Accelerate::Off {
            return Ok(Self {
                switched_off: true,
                ..Self::not("switched off (--accelerate off)".to_owned())
            });
        }
        match &known.accel {
            Ok((_, findings)) => Ok(Self { reason: None, findings: findings.clone(), switched_off: false }),
            Err(reason) if wanted.mode == Accelerate::Require => Err(Failure::error(
                Class::Unavailable,
                format!("--accelerate require: {reason}; use --accelerate safe-readers to go without"),
            )),
            Err(reason) => Ok(Self::not(reason.clone())),
        }
    }

    pub(super) fn not(reason: String) -> Self {
        Self { reason: Some(reason), findings: Findings::default(), switched_off: false }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.reason.is_none()
    }

    /// Whether programs that are not known to read what is redirected to them take part all the same, to send: on this kernel
    /// the map changes nothing for a socket to which nothing is redirected.
    pub(super) const fn unknown_send(&self) -> bool {
        UNKNOWN_SEND && self.may_send(true)
    }

    /// Whether what a program's servers send may be redirected, though nothing is redirected to it; `asks`: it may ask
    /// FIONREAD. How it reads is known but for how it asks and splices.
    pub(super) const fn may_send(&self, asks: bool) -> bool {
        self.is_on() && !self.findings.missplices_stack && !(asks && self.findings.misreads_stack)
    }

    /// Whether splice(2) is refused from sockets that are redirected to.
    pub(super) const fn guards(&self) -> bool {
        self.is_on() && self.findings.unguarded.is_none()
    }

    /// Why it is not, though the workload is accelerated.
    pub(super) fn not_guarded(&self) -> Option<&str> {
        self.findings.unguarded.as_deref().filter(|_| self.is_on())
    }

    /// Why the workload is not accelerated though the user wants it.
    pub(super) fn missing(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.switched_off)
    }
}
