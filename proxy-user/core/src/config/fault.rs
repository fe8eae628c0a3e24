//! What is wrong with a configuration: every fault, not only the first.

use std::fmt;

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Every spelling under which the value can be given: flag, environment, annotation.
    pub names: String,
    /// The value as it was written; of a list, the item.
    pub value: String,
    pub reason: String,
    /// What to do about it.
    pub next: String,
}

/// All faults of one configuration, in the order of the settings. Never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFaults(pub Vec<Fault>);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}; {}", self.names, quoted(&self.value), self.reason, self.next)
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigFaults {}

/// Quotes a value for a message: a list of ten thousand CIDRs must not become a message of that length, and control
/// characters must not reach the terminal.
fn quoted(value: &str) -> String {
    const LONGEST: usize = 120;
    match value.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}...", &value[..cut]),
        None => format!("{value:?}"),
    }
}
