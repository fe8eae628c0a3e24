//! Somebody who looks at programs that start after their pod was attached, as the agent of a node does.

use std::process::{Child, Command, Stdio};

use ::tests::sidestep;
use anyhow::{Context, Result};

/// `sidestep serve`; ends when dropped.
#[derive(Debug)]
pub(crate) struct Looking(Child);

impl Looking {
    pub(crate) fn start() -> Result<Self> {
        let child = Command::new(sidestep::binary()?)
            .args(["--quiet", "serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start sidestep serve")?;
        Ok(Self(child))
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
