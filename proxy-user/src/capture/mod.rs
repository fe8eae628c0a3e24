//! What `sidestep capture` makes of messages: packets in a file, or lines.

mod lines;
mod packets;
mod pcapng;

use std::collections::BTreeMap;

use anyhow::Result;
use proxy_common::accel::Reason;
use proxy_plane::dataplane::Message;

pub(crate) use self::{lines::Lines, pcapng::File};

/// Names of workloads, by tenancy.
pub(crate) type Names = BTreeMap<u64, String>;

/// Where messages go.
pub(crate) trait Sink {
    /// False: nobody reads any more.
    fn take(&mut self, message: &Message) -> Result<bool>;

    /// Bytes written so far.
    fn written(&self) -> u64;

    /// Somebody may wait for what was taken. False: as above.
    fn flush(&mut self) -> Result<bool>;
}

/// Who has sent it.
fn sender<'a>(names: &'a Names, message: &Message) -> &'a str {
    names.get(&message.tenancy).map_or("another workload", String::as_str)
}

/// How a message went, as its reason says.
fn path(message: &Message) -> String {
    match message.reason {
        Some(Reason::Redirected) => "redirected".to_owned(),
        Some(reason) => format!("over the stack: {}", reason.name()),
        None => "over the stack".to_owned(),
    }
}
