//! What the keys change.

use std::sync::Arc;

use proxy_common::flow::Direction;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::{Interval, Rated};

/// Order of the list of flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sort {
    #[default]
    Rate,
    Total,
    Newest,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) direction: Direction,
    /// None: all.
    pub(super) workload: Option<Arc<str>>,
    pub(super) sort: Sort,
    pub(super) paused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    Go,
    Quit,
}

impl Default for View {
    fn default() -> Self {
        Self { direction: Direction::Inbound, workload: None, sort: Sort::default(), paused: false }
    }
}

impl View {
    pub(super) fn press(&mut self, key: KeyEvent, interval: &Interval) -> After {
        // Terminals that tell say when a key comes up again.
        if key.kind == KeyEventKind::Release {
            return After::Go;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return After::Quit,
            KeyCode::Char('c') if control => return After::Quit,
            KeyCode::Tab => {
                self.direction = match self.direction {
                    Direction::Inbound => Direction::Outbound,
                    _ => Direction::Inbound,
                }
            }
            KeyCode::Char('s') => {
                self.sort = match self.sort {
                    Sort::Rate => Sort::Total,
                    Sort::Total => Sort::Newest,
                    Sort::Newest => Sort::Rate,
                }
            }
            KeyCode::Char('w') => self.next_workload(interval),
            KeyCode::Char(' ') => self.paused = !self.paused,
            _ => {}
        }
        After::Go
    }

    /// All, then each by name, then all again.
    fn next_workload(&mut self, interval: &Interval) {
        let mut names: Vec<&Arc<str>> = interval.flows.iter().map(|rated| &rated.flow.workload).collect();
        names.sort_unstable();
        names.dedup();
        let next = names.into_iter().find(|name| self.workload.as_ref().is_none_or(|now| **name > *now));
        self.workload = next.cloned();
    }

    /// The flows of the list, in order.
    pub(super) fn list<'a>(&self, interval: &'a Interval) -> Vec<&'a Rated> {
        let shown = |rated: &&Rated| self.workload.as_ref().is_none_or(|name| rated.flow.workload == *name);
        let mut flows: Vec<&Rated> = interval.flows.iter().filter(shown).collect();
        let now = |rated: &Rated| rated.up.total() + rated.down.total();
        flows.sort_by_key(|rated| {
            let first = match self.sort {
                Sort::Rate => now(rated),
                Sort::Total => rated.flow.bytes().total(),
                Sort::Newest => rated.flow.times.syn.unwrap_or(0),
            };
            // Quiet ones stay where they are.
            std::cmp::Reverse((first, rated.flow.bytes().total(), rated.flow.id))
        });
        flows
    }
}
