//! The decision against an independent interpreter of the rules `sidestep rules` prints: random configurations, random
//! connections, and the rows a real kernel judged.

mod agreement;
mod comparison;
mod connection;
mod found;
mod large;
mod oracle;
mod ranges;
mod settings;
mod topology;
