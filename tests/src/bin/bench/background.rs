//! What a node runs while others work.

use std::process::{Child, Command, Stdio};

use ::tests::sidestep;
use anyhow::{Context, Result};

/// A verb of sidestep; ends when dropped.
#[derive(Debug)]
pub(crate) struct Background(Child);

impl Background {
    /// Somebody who follows the flows.
    pub(crate) fn follows() -> Result<Self> {
        Self::start(&["flows", "--follow", "--output", "json"])
    }

    /// Somebody who looks at programs that start after their pod was attached, as the agent of a node does.
    pub(crate) fn looks() -> Result<Self> {
        Self::start(&["--quiet", "serve", "--listen", "127.0.0.1:0"])
    }

    /// On the CPUs the caller is pinned to, like everything else.
    fn start(words: &[&str]) -> Result<Self> {
        Command::new(sidestep::binary()?)
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .with_context(|| format!("start sidestep {}", words.join(" ")))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Ours, and waited for: nobody else has its number.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
