//! A line for each message.

use anyhow::Result;
use proxy_plane::dataplane::Message;

use super::{Names, Sink, path, sender};
use crate::{out, span::timestamp};

pub(crate) struct Lines {
    names: Names,
    written: u64,
}

impl Lines {
    pub(crate) fn new(names: Names) -> Self {
        Self { names, written: 0 }
    }
}

impl Sink for Lines {
    fn take(&mut self, message: &Message) -> Result<bool> {
        let line = format!(
            "{} {} {} > {} {} bytes, {}\n",
            timestamp(message.at),
            sender(&self.names, message),
            message.source,
            message.target,
            message.size,
            path(message)
        );
        self.written += line.len() as u64;
        out::lines(&line)
    }

    fn written(&self) -> u64 {
        self.written
    }

    /// Each line is printed at once.
    fn flush(&mut self) -> Result<bool> {
        Ok(true)
    }
}
