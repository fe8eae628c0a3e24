//! Sysctls of the caller's network namespace.

use anyhow::{Context, Result};
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Sysctl {
    /// Path below /proc/sys.
    path: String,
    value: String,
}

impl Sysctl {
    pub(crate) fn run(self) -> Result<()> {
        set(&self.path, &self.value)
    }
}

pub(crate) fn set(path: &str, value: &str) -> Result<()> {
    std::fs::write(format!("/proc/sys/{path}"), value).with_context(|| format!("set {path} to {value}"))
}
