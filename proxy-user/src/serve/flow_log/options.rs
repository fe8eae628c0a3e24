//! What the flow log is asked for.

use std::{fmt, io, path::PathBuf, time::Duration};

/// How to log.
#[derive(Clone, Debug)]
pub struct FlowLog {
    pub to: Target,
    /// Bytes a file may have before the next one begins.
    pub size: u64,
    /// Files that are kept, the one that is written included.
    pub files: usize,
    /// One connection in so many is logged.
    pub sample: u64,
    /// A record in each such span of a connection that lasts.
    pub every: Option<Duration>,
}

#[derive(Clone, Debug)]
pub enum Target {
    /// Of who has started the server, by its name.
    Stream(&'static str, fn() -> Box<dyn io::Write + Send>),
    File(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(name, _) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
