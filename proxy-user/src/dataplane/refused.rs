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
    /// `load`, `attach` or `run`.
    step: &'static str,
    error: Box<dyn Error + Send + Sync>,
}

impl Refused {
    pub(super) fn to(
        step: &'static str,
        program: &str,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
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
            "load" => write!(f, "the kernel refuses the program {}", self.program),
            step => write!(f, "the kernel refuses to {step} the program {}", self.program),
        }
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

static PRETENDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on this process behaves as if the kernel refused these programs. For tests.
#[doc(hidden)]
pub fn pretend_refused(programs: &[&str]) {
    let programs = programs.iter().map(|program| (*program).to_owned()).collect();
    *PRETENDED.lock().unwrap_or_else(PoisonError::into_inner) = programs;
}

/// What the kernel would say, where a test pretends that it refuses.
pub(super) fn pretended(program: &str) -> io::Result<()> {
    if PRETENDED.lock().unwrap_or_else(PoisonError::into_inner).contains(program) {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}
