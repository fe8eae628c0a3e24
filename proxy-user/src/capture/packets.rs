//! Messages as the packets the stack would have made of them: addresses, ports, sequence numbers. What no message has is
//! not made up: no handshake, no FIN, no time to live that means anything.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, bail};
use etherparse::PacketBuilder;
use proxy_plane::dataplane::Message;

const HOP_LIMIT: u8 = 64;
/// What a receiver would take; no packet of ours has asked it.
const WINDOW: u16 = u16::MAX;
/// Connections whose numbers are known. Of more, all are learnt anew.
const MOST: usize = 65_536;

/// One direction of a connection, by addresses and first sequence numbers.
type Key = (SocketAddr, SocketAddr, u32, u32);

/// What has been sent so far, by direction.
#[derive(Default)]
pub(super) struct Packets {
    next: HashMap<Key, u32>,
}

impl Packets {
    /// An IP packet with these bytes.
    pub(super) fn of(&mut self, message: &Message) -> Result<Vec<u8>> {
        if self.next.len() >= MOST {
            self.next.clear();
        }
        let Message { source, target, first, first_received, sequence, .. } = *message;
        // Its receiver has acknowledged nothing we know of: what the sender has been sent is.
        let received =
            self.next.get(&(target, source, first_received, first)).copied().unwrap_or(first_received);
        self.next.insert((source, target, first, first_received), sequence.wrapping_add(message.size));
        let builder = match (source.ip(), target.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                PacketBuilder::ipv4(source.octets(), target.octets(), HOP_LIMIT)
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                PacketBuilder::ipv6(source.octets(), target.octets(), HOP_LIMIT)
            }
            _ => bail!("a connection from {source} to {target}"),
        };
        let builder = builder.tcp(source.port(), target.port(), sequence, WINDOW).psh().ack(received);
        let mut packet = Vec::with_capacity(builder.size(message.bytes.len()));
        builder.write(&mut packet, &message.bytes).context("build a packet")?;
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn message(from: &str, to: &str, sequence: u32, first: [u32; 2], bytes: &[u8]) -> Message {
        Message {
            at: 0,
            tenancy: 1,
            source: from.parse().unwrap(),
            target: to.parse().unwrap(),
            first: first[0],
            first_received: first[1],
            sequence,
            size: u32::try_from(bytes.len()).unwrap(),
            reason: None,
            bytes: bytes.to_vec(),
        }
    }

    /// Sequence and acknowledgement number, payload.
    fn seen(packet: &[u8]) -> (u32, u32, Vec<u8>) {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        let header = tcp.to_header();
        let expected = match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => header.calc_checksum_ipv4(&ip.header().to_header(), tcp.payload()).unwrap(),
            NetSlice::Ipv6(ip) => header.calc_checksum_ipv6(&ip.header().to_header(), tcp.payload()).unwrap(),
            _ => panic!("no IP"),
        };
        assert_eq!(header.checksum, expected);
        (header.sequence_number, header.acknowledgment_number, tcp.payload().to_vec())
    }

    #[test]
    fn each_direction_acknowledges_the_other() {
        for [client, server] in [["10.0.0.1:4000", "10.0.0.2:80"], ["[fd00::1]:4000", "[fd00::2]:80"]] {
            let mut packets = Packets::default();
            let mut next = |message: Message| seen(&packets.of(&message).unwrap());
            let ask = next(message(client, server, 100, [100, u32::MAX], b"ask"));
            assert_eq!(ask, (100, u32::MAX, b"ask".to_vec()));
            let answer = next(message(server, client, u32::MAX, [u32::MAX, 100], b"answer"));
            assert_eq!(answer, (u32::MAX, 103, b"answer".to_vec()));
            let again = next(message(client, server, 103, [100, u32::MAX], b"ask"));
            assert_eq!(again, (103, 5, b"ask".to_vec()), "sequence numbers wrap");
        }
    }
}
