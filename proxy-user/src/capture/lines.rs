//! A line for each message.

use anyhow::Result;
use proxy_plane::dataplane::Piece;

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
    fn take(&mut self, piece: &Piece) -> Result<bool> {
        // The pieces behind the first one belong to the same message.
        if piece.start != 0 {
            return Ok(true);
        }
        let line = format!(
            "{} {} {} > {} {} bytes, {}\n",
            timestamp(piece.at),
            sender(&self.names, piece),
            piece.source,
            piece.target,
            piece.size,
            path(piece)
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
