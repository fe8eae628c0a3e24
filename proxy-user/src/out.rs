//! What is printed: results on standard output, and what is wrong on standard error after `sidestep: `.
//!
//! Who reads may go (`sidestep status | head`). That is no failure of ours, and does not change the exit code: the rest is
//! not written.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
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
    print_painted(&format!("{text}\n")).map(drop)
}

/// Results that end with a line.
///
/// # Errors
/// As [`line`].
pub(crate) fn text(text: impl Display) -> Result<()> {
    print_painted(&text.to_string()).map(drop)
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
    print_painted(text)
}

/// The same for programs.
///
/// # Errors
/// As [`line`].
pub(crate) fn json_lines(text: &str) -> Result<bool> {
    print(&harmless_json(text))
}

fn print_painted(text: &str) -> Result<bool> {
    let text = harmless_lines(text);
    if is_coloured(&io::stdout()) { print(&painted(&text)) } else { print(&text) }
}

/// What comes next takes the place of what is on the terminal; in a pipe it comes after it.
pub(crate) fn begin_again() {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let _ = out.write_all(b"\x1b[H\x1b[2J");
    }
}

/// Whether there is somebody to see colours, and he has not asked for none (no-color.org).
fn is_coloured(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const AS_BEFORE: &str = "\u{1b}[0m";

/// Words that say how something went, where a line or a cell of a table is nothing else.
const WORDS: [(&str, &str); 7] = [
    ("FAIL", RED),
    ("refused", RED),
    ("killed", RED),
    ("unusable", RED),
    ("exposed", RED),
    ("degraded", YELLOW),
    ("warning:", YELLOW),
];

/// What went wrong stands out.
fn painted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // The first word, or in a table the second.
        let found = WORDS.iter().find_map(|(word, colour)| {
            let at = line.find(word)?;
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            let alone = after.starts_with([' ', '\n']) && (before.is_empty() || before.ends_with(' '));
            (alone && before.split_whitespace().count() <= 1).then_some((at, *word, *colour))
        });
        match found {
            Some((at, word, colour)) => {
                out.push_str(&line[..at]);
                out.push_str(&format!("{colour}{word}{AS_BEFORE}"));
                out.push_str(&line[at + word.len()..]);
            }
            None => out.push_str(line),
        }
    }
    out
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
    let text = harmless_lines(&text);
    let text = if is_coloured(&io::stderr()) { painted(&text) } else { text.into_owned() };
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_painted_and_nothing_else() {
        for (line, shown) in [
            ("FAIL  sidecar  nobody\n", "\u{1b}[31mFAIL\u{1b}[0m  sidecar  nobody\n"),
            ("sidestep: warning: nothing\n", "sidestep: \u{1b}[33mwarning:\u{1b}[0m nothing\n"),
            (" btf  degraded  none\n", " btf  \u{1b}[33mdegraded\u{1b}[0m  none\n"),
            ("pass  outbound  it was refused before\n", "pass  outbound  it was refused before\n"),
            ("pass  FAILURES\n", "pass  FAILURES\n"),
        ] {
            assert_eq!(painted(line), shown);
        }
    }
}
