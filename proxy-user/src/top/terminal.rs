//! The terminal: taken whole, given back as it was.

use std::{
    io::{IsTerminal, Stdout, stdin, stdout},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result};
use ratatui::{DefaultTerminal, Terminal, backend::CrosstermBackend, crossterm};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::exit::{Class, Failure};

pub(super) const LEAST_WIDTH: u16 = 80;
pub(super) const LEAST_HEIGHT: u16 = 24;

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

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
