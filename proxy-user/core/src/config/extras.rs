//! What comes besides capture: acceleration and flow records.

use std::path::PathBuf;

use proxy_common::accel::DEFAULT_LIMIT;
use serde::{Deserialize, Serialize};

use super::choice::Choice;

/// Whether connections are recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Observe {
    #[default]
    On,
    Off,
}

/// Which connections are accelerated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerate {
    /// Earlier builds pinned other words.
    #[default]
    #[serde(alias = "strict", alias = "auto")]
    SafeReaders,
    Off,
    Require,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acceleration {
    pub mode: Accelerate,
    /// Bytes a receiver may have waiting.
    pub inflight_limit: u32,
    /// Programs the user vouches for: they read sockets with recv until nothing is left, whatever their code could.
    #[serde(default)]
    pub trusted: Vec<PathBuf>,
}

impl Default for Acceleration {
    fn default() -> Self {
        Self { mode: Accelerate::default(), inflight_limit: DEFAULT_LIMIT, trusted: Vec::new() }
    }
}

impl Choice for Observe {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::On, "on", "Each connection is recorded; without records where the kernel does not allow it"),
        (Self::Off, "off", "Nothing is recorded"),
    ];
}

impl Choice for Accelerate {
    const FORMER: &'static [(&'static str, &'static str)] = &[("strict", "safe-readers")];
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::SafeReaders,
            "safe-readers",
            "Event loops (O_NONBLOCK) whose program is known to read what it is sent; without it where the kernel is \
             not safe",
        ),
        (Self::Off, "off", "Redirection only"),
        (Self::Require, "require", "As safe-readers, but fail where the kernel is not safe"),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pins keep the words that the command line takes.
    #[test]
    fn words_are_those_of_the_pins() {
        fn check<C: Choice + Serialize + std::fmt::Debug>(count: usize) {
            assert_eq!(C::ALL.len(), count);
            for (choice, word, _) in C::ALL {
                assert_eq!(serde_json::to_value(choice).unwrap(), *word);
                assert_eq!(C::of_word(choice.word()), Some(*choice));
            }
        }
        check::<Observe>(2);
        check::<Accelerate>(3);
    }
}
