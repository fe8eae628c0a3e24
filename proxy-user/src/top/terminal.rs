//! The terminal: taken whole, given back as it was.

use std::{
    io::{IsTerminal, Stdout, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use proxy_core::exit::{Class, Failure};
use ratatui::{DefaultTerminal, Terminal, backend::CrosstermBackend, crossterm};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&ended)).context("catch signals")?;
        }
        end_in_any_case(Arc::clone(&ended));
        let terminal: Terminal<CrosstermBackend<Stdout>> = ratatui::try_init()
            // It may have got half way.
            .inspect_err(|_| ratatui::restore())
            .context("take the terminal")?;
        Ok(Self { terminal, ended })
    }

    /// Somebody asked us to end.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Who waits for a key of a terminal that is gone waits for ever, and busily (crossterm reads nothing again and again).
fn end_in_any_case(ended: Arc<AtomicBool>) {
    thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
        thread::sleep(LONGEST_END);
        ratatui::restore();
        std::process::exit(1);
    });
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
