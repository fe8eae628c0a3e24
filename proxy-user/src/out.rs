//! What is printed: results on standard output, and what is wrong on standard error after `sidestep: `.
//!
//! Who reads may go (`sidestep status | head`). That is no failure of ours, and does not change the exit code: the rest is
//! not written.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anyhow::{Context as _, Result};
use proxy_core::harmless::{harmless_json, harmless_lines};

/// In front of every message.
pub(crate) const PREFIX: &str = "sidestep: ";

/// One line of results.
///
/// # Errors
/// When it cannot be written, and somebody might miss it.
pub(crate) fn line(text: impl Display) -> Result<()> {
    print(&harmless_lines(&format!("{text}\n"))).map(drop)
}

/// Results that end with a line.
///
/// # Errors
/// As [`line`].
pub(crate) fn text(text: impl Display) -> Result<()> {
    print(&harmless_lines(&text.to_string())).map(drop)
}

/// Results for programs, on one line.
///
/// # Errors
/// As [`line`].
pub(crate) fn json(text: impl Display) -> Result<()> {
    print(&harmless_json(&format!("{text}\n"))).map(drop)
}

/// Lines of results. False: nobody reads any more, and who prints for as long as somebody reads may end.
///
/// # Errors
/// As [`line`].
pub(crate) fn lines(text: &str) -> Result<bool> {
    print(&harmless_lines(text))
}

/// The same for programs.
///
/// # Errors
/// As [`line`].
pub(crate) fn json_lines(text: &str) -> Result<bool> {
    print(&harmless_json(text))
}

fn print(text: &str) -> Result<bool> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true).context("write to standard output"),
    }
}

/// What another run of this program said on standard error, to be said as a part of a message of this one.
pub(crate) fn said_by(stderr: &[u8]) -> String {
    String::from_utf8_lossy(stderr).trim().trim_start_matches(PREFIX).to_owned()
}

/// What is wrong. That it cannot be said is nothing that could be said.
pub(crate) fn complain(text: impl Display) {
    let text = format!("{PREFIX}{text}\n");
    let _ = io::stderr().lock().write_all(harmless_lines(&text).as_bytes());
}
