//! Earlier builds of sidestep; `cargo xtask test` builds them from the history.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::agent;

/// The binary of a commit: below `SIDESTEP_EARLIER`, else where xtask puts it.
pub fn binary(commit: &str) -> Result<PathBuf> {
    let dir = std::env::var_os("SIDESTEP_EARLIER")
        .map_or_else(|| agent::repository().join("target/earlier"), PathBuf::from);
    let binary = dir.join(commit).join("sidestep");
    binary.is_file().then_some(binary).with_context(|| {
        format!("no sidestep of {commit}: `cargo xtask test` builds it where git has the commit")
    })
}
