//! As much of RFC 1035 as asking and checking takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;

/// A recursive query for the addresses of `name`.
pub(crate) fn query(id: u16, name: &str, ipv6: bool) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    for word in [if ipv6 { TYPE_AAAA } else { TYPE_A }, 1] {
        message.extend(word.to_be_bytes());
    }
    message
}

/// The id of a message.
pub(crate) fn id(message: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*message.first()?, *message.get(1)?]))
}

/// The addresses a reply gives.
pub(crate) fn addresses(reply: &[u8]) -> Result<Vec<IpAddr>> {
    let word = |at: usize| -> Result<u16> {
        Ok(u16::from_be_bytes(reply.get(at..at + 2).context("short reply")?.try_into()?))
    };
    ensure!(word(2)? & 0x800f == 0x8000, "flags {:#06x}: no reply, or an error", word(2)?);
    let mut at = HEADER;
    for _ in 0..word(4)? {
        at = skip_name(reply, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..word(6)? {
        at = skip_name(reply, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = reply.get(at + 10..at + 10 + length).context("short reply")?;
        match kind {
            TYPE_A => found.push(IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(data)?))),
            TYPE_AAAA => found.push(IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(data)?))),
            _ => {}
        }
        at += 10 + length;
    }
    Ok(found)
}

/// The index behind a name.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize> {
    loop {
        let length = usize::from(*message.get(at).context("short reply")?);
        if length & 0xc0 == 0xc0 {
            return Ok(at + 2);
        }
        at += 1 + length;
        if length == 0 {
            return Ok(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_out_of_a_reply() {
        let mut reply = query(7, "app.test", false);
        (reply[2], reply[3], reply[7]) = (0x81, 0x80, 1);
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 96, 7, 7]);
        assert_eq!(id(&reply), Some(7));
        assert_eq!(addresses(&reply).unwrap(), ["10.96.7.7".parse::<IpAddr>().unwrap()]);
        assert!(addresses(&reply[..20]).is_err());
    }
}
