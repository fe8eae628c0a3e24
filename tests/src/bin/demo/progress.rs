//! What the demo is doing, on standard error.

use std::io::IsTerminal;
use std::time::Instant;

/// Prints steps with the time since the start; grey on a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    colour: bool,
}

impl Progress {
    pub(crate) fn start() -> Self {
        let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { started: Instant::now(), colour }
    }

    pub(crate) fn note(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f32();
        let (grey, plain) = if self.colour { ("\x1b[90m", "\x1b[0m") } else { ("", "") };
        eprintln!("{grey}[{seconds:4.1}s] {text}{plain}");
    }
}
