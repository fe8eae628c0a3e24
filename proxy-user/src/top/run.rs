//! The loop: look, draw, wait for a key or the next second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event};

use super::{
    keys::{After, View},
    rates::Rates,
    screen,
    snapshot::Source,
    terminal::{self, Screen},
};

const EVERY: Duration = Duration::from_secs(1);
/// How long a signal may wait to be noticed.
const NOTICE_WITHIN: Duration = Duration::from_millis(200);

/// Shows what `source` gives until it is told to stop.
///
/// # Errors
/// Before the terminal is touched: no terminal, too small a one, the first look fails. Later: what a look says, after
/// the terminal was given back.
pub fn run(source: &mut dyn Source) -> Result<()> {
    terminal::check()?;
    let mut rates = Rates::default();
    let mut interval = rates.next(source.snapshot()?);
    let mut view = View { given: source.given().to_owned(), ..View::default() };
    let mut screen = Screen::take()?;
    let mut due = Instant::now() + EVERY;
    loop {
        let draw = |frame: &mut ratatui::Frame<'_>| screen::draw(frame, &interval, &mut view);
        if let Err(error) = screen.terminal.draw(draw) {
            // Nobody to draw for.
            if screen.is_ended() {
                return Ok(());
            }
            return Err(error).context("draw");
        }
        loop {
            if screen.is_ended() {
                return Ok(());
            }
            let wait = due.saturating_duration_since(Instant::now()).min(NOTICE_WITHIN);
            let key = event::poll(wait);
            if screen.is_ended() {
                return Ok(());
            }
            if key.context("wait for a key")? {
                match event::read().context("read a key")? {
                    Event::Key(key) if view.press(key, &interval) == After::Quit => return Ok(()),
                    Event::Key(_) | Event::Resize(..) => break,
                    _ => {}
                }
            }
            if Instant::now() >= due {
                due = Instant::now() + EVERY;
                // Also while the picture stands: rates are of a second again when it goes on, and no record is missed.
                let next = rates.next(source.snapshot()?);
                if !view.paused {
                    interval = next;
                    break;
                }
            }
        }
    }
}
