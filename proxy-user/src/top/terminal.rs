//! The terminal: taken whole, given back as it was.

use std::{
    io::{IsTerminal, Stdout, stdin, stdout},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proxy_core::exit::{Class, Failure};
use ratatui::{DefaultTerminal, Terminal, backend::CrosstermBackend, crossterm};

use crate::ended;

pub(super) const LEAST_WIDTH: u16 = 80;
pub(super) const LEAST_HEIGHT: u16 = 24;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Ending takes a look at the flag, and no more.
const LONGEST_END: Duration = Duration::from_secs(2);

const OTHERWISE: &str = "`sidestep flows` and `sidestep flows -f` print to anything";

/// Whether a screen can be shown at all; nothing is changed.
///
/// # Errors
/// Without a terminal, or with one that is too small or cannot move its cursor.
pub(super) fn check() -> Result<()> {
    let usage = |message: String| Err(Failure::error(Class::Usage, message));
    if !stdout().is_terminal() || !stdin().is_terminal() {
        return usage(format!("--top needs a terminal on standard input and output; {OTHERWISE}"));
    }
    match std::env::var("TERM").as_deref() {
        Ok("dumb" | "") | Err(_) => {
            return usage(format!(
                "--top: TERM says that this terminal cannot place its cursor; {OTHERWISE}"
            ));
        }
        Ok(_) => {}
    }
    let (width, height) = crossterm::terminal::size().context("ask the terminal for its size")?;
    if width < LEAST_WIDTH || height < LEAST_HEIGHT {
        return usage(format!(
            "--top: the terminal is {width}x{height}; enlarge it to at least {LEAST_WIDTH}x{LEAST_HEIGHT}. {OTHERWISE}"
        ));
    }
    Ok(())
}

/// The screen, until this value goes.
pub(super) struct Screen {
    pub(super) terminal: DefaultTerminal,
    ended: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal. A panic gives it back before it prints.
    pub(super) fn take() -> Result<Self> {
        let ended = ended::by_signal()?;
        end_in_any_case(Arc::clone(&ended));
        let terminal: Terminal<CrosstermBackend<Stdout>> = ratatui::try_init()
            // It may have got half way.
            .inspect_err(|_| drop(ratatui::try_restore()))
            .context("take the terminal")?;
        Ok(Self { terminal, ended })
    }

    /// Somebody asked us to end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Whether the other end of the terminal is gone. Not everybody gets SIGHUP then: only the terminal's own session does.
fn is_hung_up() -> bool {
    let input = stdin();
    let mut input = [PollFd::new(input.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    poll(&mut input, PollTimeout::ZERO).is_ok()
        && input[0].revents().is_some_and(|events| events.intersects(gone))
}

/// There is nobody to show anything to, and nothing to give back. ratatui would say on the same terminal that it cannot.
fn end_if_hung_up() {
    if is_hung_up() {
        std::process::exit(1);
    }
}

/// Who waits for a key of a terminal that is gone waits for ever, and busily (crossterm reads nothing again and again).
/// Nothing here may print: that fails, and a thread that panics ends nobody.
fn end_in_any_case(ended: Arc<AtomicBool>) {
    thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
            end_if_hung_up();
        }
        thread::sleep(LONGEST_END);
        let _ = ratatui::try_restore();
        std::process::exit(1);
    });
}

impl Drop for Screen {
    fn drop(&mut self) {
        end_if_hung_up();
        let _ = ratatui::try_restore();
    }
}
