//! What a failure means to the caller: the exit codes of the command line.

use std::fmt;

/// Exit codes, after sysexits(3) where one fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// 64: the call is wrong.
    Usage,
    /// 69: this kernel or machine cannot do it.
    Unavailable,
    /// 77: missing privilege.
    Permission,
    /// 126: verification failed (as istio-validation).
    Verification,
    /// 1: anything else.
    Other,
}

impl Class {
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Permission => 77,
            Self::Verification => 126,
            Self::Other => 1,
        }
    }

    /// The class of a file that was named and cannot be opened.
    pub fn of_argument(error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission,
            _ => Self::Usage,
        }
    }

    /// The class of an error: the outermost one that was given, else a guess from the system call.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if let Some(failure) = cause.downcast_ref::<Failure>() {
                return failure.class;
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>()
                && matches!(io.raw_os_error(), Some(libc::EPERM | libc::EACCES))
            {
                return Self::Permission;
            }
        }
        Self::Other
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    class: Class,
    message: String,
}

impl Failure {
    pub fn error(class: Class, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { class, message: message.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
