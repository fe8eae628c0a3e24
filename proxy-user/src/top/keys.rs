//! What is shown, and what the keys change of it.

use std::sync::Arc;

use proxy_common::flow::Direction;
use proxy_plane::flows::Flow;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::rates::Interval;

/// As the help and docs/flows.md have them.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("q Ctrl-C", "ends"),
    ("Tab", "the inbound way, or the outbound one"),
    ("w", "one workload after the other, then all"),
    ("/", "words that a flow has to have; Enter keeps, Esc drops them"),
    ("s", "the next order; 1 rate, 2 bytes, 3 age, 4 connections"),
    ("r", "the least first, or the most"),
    ("Up Down k j", "scrolls by a flow"),
    ("PgUp PgDn", "by what fits"),
    ("Home End g G", "to the first flow, to the last"),
    ("space", "stops the picture, or goes on with what is now"),
    ("? h", "these keys"),
    ("Esc", "leaves these keys, drops the filter, or ends"),
];
/// Letters of a filter.
const LONGEST: usize = 60;

/// What the list goes by, the most first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sort {
    /// Of the last interval.
    #[default]
    Rate,
    /// Of the whole connection.
    Bytes,
    Age,
    /// Open ones of the same caller to the same destination.
    Connections,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Rate, Self::Bytes, Self::Age, Self::Connections];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::Connections => "connections",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }
}

/// Who gets the keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Mode {
    #[default]
    Watch,
    /// The filter is being typed.
    Type,
    Help,
}

/// What is shown.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) direction: Direction,
    /// None: all.
    pub(super) workload: Option<Arc<str>>,
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    pub(super) paused: bool,
    /// Words of which a flow of the list has each.
    pub(super) filter: String,
    /// What the command line has left out already, in its words.
    pub(super) given: String,
    pub(super) mode: Mode,
    /// The first flow of the list that is shown.
    pub(super) first: usize,
    /// So many were shown when it was drawn.
    pub(super) rows: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    Go,
    Quit,
}

impl Default for View {
    fn default() -> Self {
        Self {
            direction: Direction::Inbound,
            workload: None,
            sort: Sort::default(),
            reversed: false,
            paused: false,
            filter: String::new(),
            given: String::new(),
            mode: Mode::default(),
            first: 0,
            rows: 1,
        }
    }
}

impl View {
    pub(super) fn press(&mut self, key: KeyEvent, interval: &Interval) -> After {
        // Terminals that tell say when a key comes up again.
        if key.kind == KeyEventKind::Release {
            return After::Go;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return After::Quit;
        }
        match self.mode {
            Mode::Watch => self.watch(key.code, interval),
            Mode::Type => {
                self.edit(key.code, control);
                After::Go
            }
            // Whatever it is, the list is wanted again.
            Mode::Help => {
                self.mode = Mode::Watch;
                After::Go
            }
        }
    }

    fn watch(&mut self, code: KeyCode, interval: &Interval) -> After {
        match code {
            KeyCode::Char('q') => return After::Quit,
            KeyCode::Esc if self.filter.is_empty() => return After::Quit,
            KeyCode::Esc => self.look_for(String::new()),
            KeyCode::Tab => {
                self.direction = match self.direction {
                    Direction::Inbound => Direction::Outbound,
                    _ => Direction::Inbound,
                }
            }
            KeyCode::Char('w') => self.next_workload(interval),
            KeyCode::Char('/') => self.mode = Mode::Type,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('s') => self.order(self.sort.next()),
            KeyCode::Char(digit @ '1'..='4') => self.order(Sort::ALL[digit as usize - '1' as usize]),
            KeyCode::Char('r') => {
                self.reversed = !self.reversed;
                self.first = 0;
            }
            KeyCode::Char(' ') => self.paused = !self.paused,
            _ => self.scroll(code),
        }
        After::Go
    }

    /// Drawing keeps it within the list.
    fn scroll(&mut self, code: KeyCode) {
        self.first = match code {
            KeyCode::Up | KeyCode::Char('k') => self.first.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.first.saturating_add(1),
            KeyCode::PageUp => self.first.saturating_sub(self.rows),
            KeyCode::PageDown => self.first.saturating_add(self.rows),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX,
            _ => self.first,
        };
    }

    fn edit(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.mode = Mode::Watch,
            KeyCode::Esc => {
                self.mode = Mode::Watch;
                self.look_for(String::new());
            }
            KeyCode::Backspace => {
                let mut shorter = self.filter.clone();
                shorter.pop();
                self.look_for(shorter);
            }
            KeyCode::Char('u') if control => self.look_for(String::new()),
            KeyCode::Char(letter) if !control && self.filter.chars().count() < LONGEST => {
                self.look_for(format!("{}{letter}", self.filter));
            }
            _ => {}
        }
    }

    fn look_for(&mut self, filter: String) {
        self.filter = filter;
        self.first = 0;
    }

    fn order(&mut self, sort: Sort) {
        self.sort = sort;
        self.first = 0;
    }

    /// All, then each by name, then all again.
    fn next_workload(&mut self, interval: &Interval) {
        let mut names: Vec<&Arc<str>> = interval.flows.iter().map(|rated| &rated.flow.workload).collect();
        names.sort_unstable();
        names.dedup();
        let next = names.into_iter().find(|name| self.workload.as_ref().is_none_or(|now| **name > *now));
        self.workload = next.cloned();
        self.first = 0;
    }

    pub(super) fn is_of_workload(&self, flow: &Flow) -> bool {
        self.workload.as_ref().is_none_or(|name| flow.workload == *name)
    }
}
