//! What the bench is doing, on standard error.

use std::time::Instant;

/// Prints lines with the time since the start.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    pub(crate) fn note(&self, text: &str) {
        eprintln!("[{:6.1}s] {text}", self.started.elapsed().as_secs_f32());
    }
}
