//! `sidestep flows --top`: what flows now, hop by hop, in the terminal.
//!
//! A [`Source`] gives a [`Snapshot`] every second; [`Rates`] turns two of them into bytes per second; [`Path`] puts the
//! flows of a direction together as the two hops they take; `list` says which are listed below, and in which order;
//! `screen` draws. The terminal is taken only when the first snapshot is there, and given back however it ends.

mod keys;
mod list;
mod path;
mod rates;
mod run;
mod screen;
mod snapshot;
mod terminal;
mod units;

pub use path::{HopSum, Path};
pub use rates::{Rated, Rates};
pub use run::run;
pub use snapshot::{Snapshot, Source};

#[cfg(test)]
pub(crate) mod tests;
