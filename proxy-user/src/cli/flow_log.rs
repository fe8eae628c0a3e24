//! Flags of the flow log.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use clap::Args;
use proxy_core::exit::{Class, Failure};

use crate::serve::{FlowLog, Target};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Flow log")]
pub(crate) struct FlowLogArgs {
    /// Write a JSON record of each connection when it has ended: a file, or - for standard output
    #[arg(long, value_name = "FILE|-")]
    flow_log: Option<PathBuf>,
    /// Mebibytes that a file may have before the next one begins
    #[arg(long, value_name = "MIB", default_value_t = 64, requires = "flow_log",
        value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    flow_log_size: u64,
    /// Files that are kept, FILE itself included
    #[arg(long, value_name = "N", default_value_t = 5, requires = "flow_log",
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    flow_log_files: u32,
    /// One connection in so many is logged
    #[arg(long, value_name = "N", default_value_t = 1, requires = "flow_log",
        value_parser = clap::value_parser!(u64).range(1..))]
    flow_log_sample: u64,
    /// A record every so many seconds of each connection that lasts; 0: only when it has ended
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "flow_log")]
    flow_log_every: u64,
}

impl FlowLogArgs {
    pub(super) fn resolve(&self) -> Result<Option<FlowLog>> {
        let Some(path) = &self.flow_log else { return Ok(None) };
        let to = if path.as_os_str() == "-" {
            Target::Stream("standard output", || Box::new(io::stdout()))
        } else {
            check(path)?;
            Target::File(path.clone())
        };
        Ok(Some(FlowLog {
            to,
            size: self.flow_log_size << 20,
            files: self.flow_log_files as usize,
            sample: self.flow_log_sample,
            every: (self.flow_log_every > 0).then(|| Duration::from_secs(self.flow_log_every)),
        }))
    }
}

/// What is wrong from the start is said then; it is written by a thread, later.
fn check(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let reason = if path.is_dir() {
        format!("{} is a directory; name a file in it", path.display())
    } else if directory.is_dir() {
        return Ok(());
    } else {
        format!("there is no directory {}; make it, or name a file elsewhere", directory.display())
    };
    Err(Failure::error(Class::Usage, format!("--flow-log {}: {reason}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_nobody_could_write_is_refused_with_the_reason() {
        assert!(check(Path::new("flows")).is_ok() && check(Path::new("/dev/full")).is_ok());
        let said = |path: &str| format!("{:#}", check(Path::new(path)).unwrap_err());
        assert!(said("/nonexistent/flows").contains("no directory /nonexistent; make it"));
        assert!(said("/tmp").contains("/tmp is a directory"));
    }
}
