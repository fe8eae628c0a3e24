//! One connection, to pick from the rules of a row the one that speaks of it.

use std::net::IpAddr;

use super::rule::{Match, Protocol, Rule};

/// What is known of a connection. `None` is unknown and fits any condition.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionFacts {
    pub protocol: Option<Protocol>,
    pub src: Option<IpAddr>,
    pub dst: Option<IpAddr>,
    pub dport: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl ConnectionFacts {
    /// True unless a condition of the rule contradicts what is known. Interfaces, marks and connection tracking are
    /// not part of it: the caller already knows the row.
    pub fn fits(&self, rule: &Rule) -> bool {
        rule.matches.iter().all(|condition| self.fits_match(condition))
    }

    fn fits_match(&self, condition: &Match) -> bool {
        fn is<T: Copy>(known: Option<T>, holds: impl FnOnce(T) -> bool) -> bool {
            known.is_none_or(holds)
        }
        match condition {
            Match::Protocol(protocol) => is(self.protocol, |known| known == *protocol),
            Match::Source(net) => is(self.src, |src| net.contains(&src)),
            Match::Destination(net) => is(self.dst, |dst| net.contains(&dst)),
            Match::NotDestination(net) => is(self.dst, |dst| !net.contains(&dst)),
            Match::FromServer(server) => is(self.src, |src| src == *server),
            Match::ToServer(server) => is(self.dst, |dst| dst == *server),
            Match::Port(port) => is(self.dport, |dport| dport == *port),
            Match::NotPort(port) => is(self.dport, |dport| dport != *port),
            Match::NotPorts(ports) => is(self.dport, |dport| !ports.contains(&dport)),
            Match::Uid(uid) => is(self.uid, |known| known == *uid),
            Match::NotUid(uid) => is(self.uid, |known| known != *uid),
            Match::Gid(gid) | Match::Group { gid, .. } => is(self.gid, |known| known == *gid),
            Match::NotGid(gid) | Match::NotGroup { gid, .. } => is(self.gid, |known| known != *gid),
            Match::InInterface(_)
            | Match::OutInterface(_)
            | Match::SourcePort(_)
            | Match::Mark(_)
            | Match::NotMark(_)
            | Match::ConnMark(_)
            | Match::State(_) => true,
        }
    }
}
