//! The decision against an independent interpreter of the rules `sidestep rules` prints: random configurations, random
//! connections, and the rows a real kernel judged. And `explain` against what the programs gather.

mod agreement;
mod comparison;
mod connection;
mod explained;
mod found;
mod large;
mod oracle;
mod ranges;
mod settings;
mod topology;
