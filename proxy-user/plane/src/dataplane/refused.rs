//! A program that this kernel does not take, attach or run: hardened kernels and old verifiers refuse some of them.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt, io,
    sync::{Mutex, PoisonError},
};

/// Which program, and what the kernel said.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) program: String,
    step: Step,
    error: Box<dyn Error + Send + Sync>,
}

/// What was asked of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Load,
    Attach,
    Run,
}

impl Refused {
    pub(super) fn to(step: Step, program: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { program: program.to_owned(), step, error: error.into() }
    }

    /// The refusal an error came from.
    pub(super) fn behind(error: &anyhow::Error) -> Option<&Self> {
        error.chain().find_map(|cause| cause.downcast_ref())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Step::Load | Step::Attach => write!(f, "the kernel refuses the program {}", self.program),
            Step::Run => write!(f, "the kernel refuses to run the program {}", self.program),
        }
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

static PRETENDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on this process behaves as if the kernel refused these programs, or to put the pins of these maps into the
/// place of older ones. For tests.
#[doc(hidden)]
pub fn pretend_refused(names: &[&str]) {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    *PRETENDED.lock().unwrap_or_else(PoisonError::into_inner) = names;
}

/// Whether this process pretends anything: then it neither believes nor leaves what others would know.
pub(super) fn pretends() -> bool {
    !PRETENDED.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// What the kernel would say, where a test pretends that it refuses.
pub(super) fn pretended(name: &str) -> io::Result<()> {
    if PRETENDED.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}
