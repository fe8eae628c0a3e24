//! The rule sets of the oracle, and what they do not show.

mod oracle;
mod programs;
