//! What to run, as xtask put it into the initramfs.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Plan {
    pub(crate) modules: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) runs: Vec<Run>,
    pub(crate) hide: Vec<String>,
    /// Of each run.
    pub(crate) most_seconds: u64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
}

impl Plan {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("read {path}"))?;
        serde_json::from_slice(&text).with_context(|| format!("parse {path}"))
    }
}
