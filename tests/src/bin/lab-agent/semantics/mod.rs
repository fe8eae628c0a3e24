//! What programs may expect of a TCP connection, each expectation on a fresh pair over loopback, its outcome as text.
//! The outcomes of an accelerated pod are compared with those of one that is not.

mod endings;
mod processes;
mod reads;
mod socket;
mod uring;
mod writes;

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;

use socket::Pair;

#[derive(Debug, Args)]
pub(crate) struct Semantics {
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Name, what is done, and whether it makes sense with sockets that do not block.
type Scenario = (&'static str, fn(&mut Pair) -> String, Readers);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Both,
    Blocking,
}

use Readers::{Blocking, Both};

const SCENARIOS: &[Scenario] = &[
    ("half close", endings::half_close, Both),
    ("half close of the server", endings::half_close_of_the_server, Both),
    ("reset after data", endings::reset_after_data, Both),
    ("reset of an idle reader", endings::reset_while_reading, Both),
    ("close with unread data", endings::close_with_unread_data, Both),
    ("send after shutdown", endings::send_after_shutdown, Both),
    ("shutdown of reading", endings::shutdown_of_reading, Both),
    ("shutdown while data is queued", endings::shutdown_while_queued, Both),
    ("close while data is queued", endings::close_while_queued, Both),
    ("peek", reads::peek, Both),
    ("FIONREAD", reads::fionread, Both),
    ("read kinds", reads::kinds, Both),
    ("discard", reads::discard, Both),
    ("MSG_WAITALL", reads::waitall, Blocking),
    ("SO_RCVLOWAT", reads::lowat, Both),
    ("SO_RCVTIMEO", reads::rcvtimeo, Blocking),
    ("poll timeout", reads::poll_timeout, Both),
    ("epoll level", reads::epoll_level, Both),
    ("epoll edge", reads::epoll_edge, Both),
    ("epoll edge until a short read", reads::epoll_edge_until_short, Both),
    ("epoll RDHUP", reads::epoll_rdhup, Both),
    ("splice out", reads::splice_out, Both),
    ("signal while reading", reads::signal_while_reading, Blocking),
    ("io_uring", uring::exchange, Both),
    ("kernel TLS", writes::kernel_tls, Both),
    ("many small messages", writes::many_small, Both),
    ("one large message", writes::large, Both),
    ("writev and sendmsg", writes::vectors, Both),
    ("sendfile", writes::sendfile, Both),
    ("splice in", writes::splice_in, Both),
    ("TCP_NODELAY", writes::nodelay, Both),
    ("TCP_CORK", writes::cork, Both),
    ("TCP_CORK holds back", writes::cork_holds_back, Both),
    ("MSG_MORE", writes::more, Both),
    ("MSG_OOB", writes::oob, Both),
    ("MSG_ZEROCOPY", writes::zerocopy, Both),
    ("full then writable", writes::full_then_writable, Both),
    ("killed peer", processes::killed_peer, Both),
    ("passed by SCM_RIGHTS", processes::passed, Both),
    ("shared after fork", processes::shared, Both),
    ("server in another process", processes::server_elsewhere, Both),
];

impl Semantics {
    pub(crate) fn run(self) -> Result<()> {
        let mut outcomes = BTreeMap::new();
        for (name, scenario, readers) in SCENARIOS {
            if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
                continue;
            }
            for (kind, nonblocking) in [("blocking", false), ("event loop", true)] {
                if nonblocking && *readers == Readers::Blocking {
                    continue;
                }
                let mut pair = Pair::connect(nonblocking)?;
                outcomes.insert(format!("{name}, {kind}"), scenario(&mut pair));
            }
        }
        println!("{}", serde_json::to_string(&outcomes)?);
        Ok(())
    }
}
