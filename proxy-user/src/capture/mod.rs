//! What `sidestep capture` makes of messages: packets in a file, or lines.

mod lines;
mod packets;
mod pcapng;

use std::collections::BTreeMap;

use anyhow::Result;
use proxy_plane::dataplane::Piece;

pub(crate) use self::{lines::Lines, pcapng::File};

/// Names of workloads, by tenancy.
pub(crate) type Names = BTreeMap<u64, String>;

/// Where messages go.
pub(crate) trait Sink {
    /// False: nobody reads any more.
    fn take(&mut self, piece: &Piece) -> Result<bool>;

    /// Bytes written so far.
    fn written(&self) -> u64;

    /// Somebody may wait for what was taken. False: as above.
    fn flush(&mut self) -> Result<bool>;
}

/// Who has sent it.
fn sender<'a>(names: &'a Names, piece: &Piece) -> &'a str {
    names.get(&piece.tenancy).map_or("another workload", String::as_str)
}

/// How a message went, as its reason says.
fn path(piece: &Piece) -> String {
    use proxy_common::accel::Reason;
    match piece.reason {
        Some(Reason::Redirected) => "redirected".to_owned(),
        Some(reason) => format!("over the stack: {}", reason.name()),
        None => "over the stack".to_owned(),
    }
}
