//! Which TCP ports somebody listens on.

use std::{collections::HashSet, fs};

use anyhow::{Context, Result};

use crate::netns::Netns;

const LISTEN: &str = "0A";

/// Ports with a listener of either family. `None` is the caller's own namespace, which needs no privilege.
pub(super) fn listening(netns: Option<&Netns>) -> Result<HashSet<u16>> {
    match netns {
        Some(netns) => netns.within(here),
        None => here(),
    }
}

fn here() -> Result<HashSet<u16>> {
    let mut ports = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/thread-self/net/{table}");
        match fs::read_to_string(&path) {
            Ok(text) => ports.extend(text.lines().filter_map(port_of_listener)),
            // No IPv6 in this kernel.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {path}")),
        }
    }
    Ok(ports)
}

/// `sl local_address rem_address st ...` (net/ipv4/tcp_ipv4.c: get_tcp4_sock)
fn port_of_listener(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let port = local.rsplit_once(':')?.1;
    (state == LISTEN).then(|| u16::from_str_radix(port, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_count() {
        let listener =
            "   0: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337 0 1 1";
        let connection =
            "   1: 0100007F:3A9E 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  0 0 1 1";
        assert_eq!(port_of_listener(listener), Some(15001));
        assert_eq!(port_of_listener(connection), None);
        assert_eq!(port_of_listener("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[test]
    fn an_open_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(listening(None).unwrap().contains(&listener.local_addr().unwrap().port()));
    }
}
