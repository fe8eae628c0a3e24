//! A veth pair between two pods.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::pod::Pod;

const UP_WITHIN: Duration = Duration::from_secs(10);
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// One end of a pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    pub pod: &'a Pod,
    /// Interface name in that pod.
    pub name: &'a str,
    /// Addresses with prefix length, IPv4 or IPv6.
    pub addresses: &'a [String],
}

#[derive(Deserialize)]
struct LinkState {
    operstate: String,
}

impl End<'_> {
    fn configure(&self) -> Result<()> {
        let mut lines = String::new();
        for address in self.addresses {
            // Without nodad an IPv6 address is tentative for a second.
            let nodad = if address.contains(':') { "nodad" } else { "" };
            lines.push_str(&format!("addr add {address} dev {} {nodad}\n", self.name));
        }
        lines.push_str(&format!("link set {} up\n", self.name));
        self.pod.ip(&lines)
    }

    /// Packets are dropped until the kernel's link watch has activated the queue (net/core/link_watch.c).
    fn wait_up(&self) -> Result<()> {
        let deadline = Instant::now() + UP_WITHIN;
        loop {
            let links: Vec<LinkState> =
                self.pod.command("ip").args(["-json", "link", "show", "dev", self.name]).run_json()?;
            if links.iter().all(|link| link.operstate == "UP") {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} in pod {} never came up", self.name, self.pod.name());
            }
            std::thread::sleep(RETRY_EVERY);
        }
    }
}

/// Joins two pods; the interfaces are made inside their namespaces and go with them.
pub fn connect(a: End<'_>, b: End<'_>) -> Result<()> {
    let peer = format!("peer name {} netns {}", b.name, b.pod.pid());
    a.pod.ip(&format!("link add name {} type veth {peer}\n", a.name))?;
    a.configure()?;
    b.configure()?;
    a.wait_up()?;
    b.wait_up()
}
