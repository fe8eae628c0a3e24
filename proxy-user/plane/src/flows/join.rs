//! Records of ends to flows: the two ends of a connection within a workload are one.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use proxy_common::{
    addr::{Addr, Port},
    flow::{Class, Close, flow_flag},
    verdict::{Rule, Target},
};

use super::{
    end::{End, EndKey},
    flow::{Flow, Named as _, Path, Process, Side, State, Stream, Times},
    names::{Name, Names},
    way::{stream, waiting},
};
use crate::clock::Clock;

/// Ends by what they are an end of.
pub(super) type Known = HashMap<EndKey, End>;

pub(super) fn known(ends: impl IntoIterator<Item = End>) -> Known {
    ends.into_iter().map(|end| (end.key(), end)).collect()
}

/// The flows these ends are of.
pub(super) fn flows(known: &Known, clock: Clock) -> Vec<Flow> {
    let mut names = Names::default();
    let flow = |end: &End| flow_at(end, known, clock, &mut names);
    known.values().filter_map(flow).collect()
}

/// The same, with the ends they are of.
pub(super) fn joined(known: &Known, clock: Clock) -> Vec<Joined<'_>> {
    let mut names = Names::default();
    let joined = |end| {
        let flow = flow_at(end, known, clock, &mut names)?;
        let (client, server) = sides(end, known.get(&end.key().reversed()));
        Some(Joined { flow, client, server })
    };
    known.values().filter_map(joined).collect()
}

/// A flow and its ends; none: not known here.
pub(super) struct Joined<'a> {
    pub(super) flow: Flow,
    pub(super) client: Option<&'a End>,
    pub(super) server: Option<&'a End>,
}

/// Which of two ends is the client's.
fn sides<'a>(end: &'a End, other: Option<&'a End>) -> (Option<&'a End>, Option<&'a End>) {
    if end.is_client() { (Some(end), other) } else { (other.filter(|other| other.is_client()), Some(end)) }
}

/// The flow of this end; none if the other one stands for it.
pub(super) fn flow_at(end: &End, known: &Known, clock: Clock, names: &mut Names) -> Option<Flow> {
    let other = known.get(&end.key().reversed());
    if let Some(other) = other
        && !end.counts()
        && other.counts()
        && other.is_same_workload(end)
    {
        return None;
    }
    Some(flow(end, other, clock, names.of(end)))
}

fn flow(end: &End, other: Option<&End>, clock: Clock, name: Name) -> Flow {
    let (client, server) = sides(end, other);
    let class = end.class();
    let first = end.record.syn_at;
    let (client_addr, server_addr) = match client {
        Some(client) => (local(client), remote(client)),
        None => (remote(end), local(end)),
    };
    let is_local = end.record.has(flow_flag::NEAR);
    let ends = [Some(end), other].into_iter().flatten();
    let is_open = ends.clone().any(|end| !end.is_closed());
    let upload = stream((Side::Client, client), (Side::Server, server), is_local);
    let download = stream((Side::Server, server), (Side::Client, client), is_local);
    let upload = Stream { waiting: is_open.then(|| waiting(client, server)), ..upload };
    let download = Stream { waiting: is_open.then(|| waiting(server, client)), ..download };
    let began = client.map_or(first, |client| client.record.syn_at);
    let closed = if is_open { 0 } else { ends.clone().map(|end| end.record.closed_at).max().unwrap_or(0) };
    let until = if is_open { ends.clone().map(|end| end.figures.at).max().unwrap_or(0) } else { closed };
    let byte = |get: fn(&End) -> u64| value(get(end)).or_else(|| other.and_then(|other| value(get(other))));
    Flow {
        id: end.record.cookie,
        state: if is_open { State::Live } else { State::Closed },
        workload: name.workload,
        namespace: name.namespace,
        pod: name.pod,
        direction: class.direction(),
        hop: class.hop(),
        local: is_local,
        forward: class.forward(),
        client: client_addr,
        server: server_addr,
        original_client: original_client(end, other, client_addr),
        original_destination: original_destination(end, client, server_addr),
        listener: byte(|end| end.record.listener_port.get().into()).and_then(|port| u16::try_from(port).ok()),
        rule: byte(|end| end.record.rule.into()).and_then(|rule| Rule::ALL.get(rule as usize - 1).copied()),
        verdict: Target::all()
            .iter()
            .copied()
            .find(|t| *t as u8 == end.record.target)
            .unwrap_or(Target::Bypass),
        client_process: client.and_then(process),
        server_process: server.and_then(process),
        times: Times {
            syn: clock.wall_us(began),
            established: clock.wall_us(server.or(client).map_or(0, |end| end.record.established_at)),
            accepted: clock.wall_us(server.map_or(0, |server| server.record.accepted_at)),
            first_byte: clock.wall_us(ends.clone().filter_map(first_byte).min().unwrap_or(0)),
            close: clock.wall_us(closed),
        },
        duration_us: value(began).and_then(|began| Some(value(until)?.saturating_sub(began) / 1000)),
        path: Path::of(&upload, &download),
        upload,
        download,
        rtt_us: value(end.figures.srtt_us.into()).map(|us| us as u32),
        idle_us: if is_open { idle_us(ends.clone()) } else { None },
        retransmits: ends.map(|end| end.figures.retransmits).sum(),
        close: if is_open { None } else { close(end) },
        closed_by: if is_open { None } else { closed_by(client, server) },
    }
}

/// Redirected bytes pass TCP by, and its times are not theirs.
fn idle_us<'a>(ends: impl Iterator<Item = &'a End> + Clone) -> Option<u64> {
    if ends.clone().any(|end| end.figures.tally.redirected_messages > 0 || end.figures.unread > 0) {
        return None;
    }
    // Of one end known here that is in the map nobody knows what was redirected to it.
    if ends.clone().count() == 1 && ends.clone().any(|end| end.figures.mapped != 0) {
        return None;
    }
    let since = |end: &End| Some((end.figures.at / 1000).saturating_sub(value(end.queues.active_at)?));
    ends.filter_map(since).min()
}

fn value(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

fn local(end: &End) -> SocketAddr {
    socket_addr(end.record.local, end.record.local_port)
}

fn remote(end: &End) -> SocketAddr {
    socket_addr(end.record.remote, end.record.remote_port)
}

fn socket_addr(addr: Addr, port: Port) -> SocketAddr {
    SocketAddr::new(IpAddr::from(addr), port.get())
}

fn original_client(end: &End, other: Option<&End>, client: SocketAddr) -> Option<SocketAddr> {
    match end.class() {
        Class::InnerTproxy => {
            // The application's end knows the port, too.
            let knows = [Some(end), other].into_iter().flatten().find(|end| !end.is_client()).unwrap_or(end);
            Some(socket_addr(knows.record.orig, knows.record.orig_port))
        }
        Class::InnerLo | Class::InnerEth0 | Class::Upstream | Class::SelfCall => None,
        _ => Some(client),
    }
}

fn original_destination(end: &End, client: Option<&End>, server: SocketAddr) -> SocketAddr {
    if end.class() == Class::InnerTproxy {
        return server;
    }
    let knows = &client.unwrap_or(end).record;
    if knows.orig.is_unspecified() { server } else { socket_addr(knows.orig, knows.orig_port) }
}

fn process(end: &End) -> Option<Process> {
    let record = &end.record;
    let comm = record.comm.split(|byte| *byte == 0).next().unwrap_or_default();
    (record.pid != 0).then(|| Process {
        pid: record.pid,
        comm: String::from_utf8_lossy(comm).into_owned(),
        uid: record.uid,
    })
}

fn first_byte(end: &End) -> Option<u64> {
    [end.record.first_byte_at, end.figures.tally.first_at].into_iter().filter_map(value).min()
}

/// As the end that counts has seen it, whose sums say the same.
fn close(end: &End) -> Option<Close> {
    Close::from_index(end.record.close.checked_sub(1)?)
}

fn closed_by(client: Option<&End>, server: Option<&End>) -> Option<Side> {
    let first = |end: Option<&End>| end.is_some_and(|end| end.record.has(flow_flag::CLOSED_FIRST));
    let at = |end: Option<&End>| end.map(|end| end.record.closed_at);
    match (first(client), first(server)) {
        // Both at once.
        (true, true) => Some(if at(client) <= at(server) { Side::Client } else { Side::Server }),
        (true, false) => Some(Side::Client),
        (false, true) => Some(Side::Server),
        // The other end is not known here: it was not this one.
        (false, false) => match (client, server) {
            (Some(client), None) if is_finished(client) => Some(Side::Server),
            (None, Some(server)) if is_finished(server) => Some(Side::Client),
            _ => None,
        },
    }
}

fn is_finished(end: &End) -> bool {
    let close = end.record.close.checked_sub(1).and_then(Close::from_index);
    matches!(close, Some(Close::Fin | Close::Rst | Close::Killed | Close::SidecarKilled))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::{
        end::tests::pair,
        flow::{Split, Waiting},
    };

    fn joined(ends: &[End]) -> Vec<Flow> {
        flows(&known(ends.iter().copied()), Clock::default())
    }

    #[test]
    fn the_ends_of_a_workloads_connection_are_one_flow() {
        let (mut client, mut server) = pair();
        client.figures.tally.redirected_bytes = 100;
        client.figures.sent_stacked = 5;
        client.figures.mapped = 1;
        (server.figures.unread, server.figures.received_stacked, server.figures.mapped) = (30, 5, 1);
        let flows = joined(&[client, server]);
        let [flow] = flows.as_slice() else { panic!("{flows:?}") };
        assert_eq!(flow.upload.written, Some(Split { redirected: 100, stacked: 5 }));
        assert_eq!(flow.upload.read, Some(Split { redirected: 70, stacked: 5 }));
        assert_eq!(flow.path, Path::Mixed);
        assert_eq!(flow.original_destination, "10.0.0.9:80".parse().unwrap());
        assert_eq!(flow.client_process.as_ref().map(|p| p.pid), Some(10));
        assert_eq!(flow.server_process.as_ref().map(|p| p.pid), Some(20));
        assert_eq!(flow.connect_us(), Some(50));
    }

    #[test]
    fn a_flow_lasts_until_its_close_or_until_it_is_looked_at() {
        let (mut client, mut server) = pair();
        assert_eq!(joined(&[client, server])[0].duration_us, None, "nobody looked at it");
        (client.figures.at, server.figures.at) = (3_001_000, 2_001_000);
        assert_eq!(joined(&[client, server])[0].duration_us, Some(3_000));
        for end in [&mut client, &mut server] {
            (end.record.close, end.record.closed_at) = (Close::Fin as u8 + 1, 9_001_000);
        }
        assert_eq!(joined(&[client, server])[0].duration_us, Some(9_000));
    }

    #[test]
    fn ends_of_two_workloads_are_two_flows_that_know_each_other() {
        let (client, mut server) = pair();
        server.record.cgroup = 3;
        server.record.class = Class::Inbound as u8;
        server.record.flags |= flow_flag::COUNTS;
        let mut flows = joined(&[client, server]);
        flows.sort_by_key(|flow| flow.id);
        assert_eq!(flows.len(), 2);
        assert_eq!((&*flows[0].workload, &*flows[1].workload), ("4-2", "4-3"));
        assert!(flows.iter().all(|flow| flow.client_process.is_some() && flow.server_process.is_some()));
    }

    #[test]
    fn what_an_unknown_sender_redirected_is_not_guessed() {
        let (_, mut server) = pair();
        server.figures.mapped = 1;
        assert_eq!(joined(&[server])[0].upload.read, None);
    }

    #[test]
    fn what_waits_is_at_the_end_that_has_it() {
        let (mut client, mut server) = pair();
        (client.queues.send, client.queues.receive) = (10, 20);
        (server.queues.send, server.queues.receive, server.figures.unread) = (1, 2, 4);
        let flow = &joined(&[client, server])[0];
        let waiting = |send, receive, redirected| {
            Some(Waiting { send: Some(send), receive: Some(receive), redirected: Some(redirected) })
        };
        assert_eq!(flow.upload.waiting, waiting(10, 2, 4));
        assert_eq!(flow.download.waiting, waiting(1, 20, 0));
        let alone = &joined(&[client])[0];
        let unknown = Waiting { send: Some(10), receive: None, redirected: None };
        assert_eq!(alone.upload.waiting, Some(unknown), "the other end is elsewhere");
    }

    #[test]
    fn idle_is_told_where_tcp_knows_it() {
        let (mut client, mut server) = pair();
        for (end, active_at) in [(&mut client, 700), (&mut server, 900)] {
            (end.figures.at, end.queues.active_at) = (1_000_000, active_at);
        }
        assert_eq!(joined(&[client, server])[0].idle_us, Some(100));
        client.figures.tally.redirected_messages = 1;
        assert_eq!(joined(&[client, server])[0].idle_us, None, "redirected: TCP does not know");
        client.figures.tally.redirected_messages = 0;
        client.figures.mapped = 1;
        assert_eq!(joined(&[client])[0].idle_us, None, "what was redirected to it is not known");
        for end in [&mut client, &mut server] {
            (end.record.close, end.figures.mapped) = (Close::Fin as u8 + 1, 0);
        }
        let flow = &joined(&[client, server])[0];
        assert_eq!((flow.idle_us, flow.upload.waiting), (None, None), "it is over");
    }

    #[test]
    fn a_reset_is_told_from_the_fin_of_the_other_end() {
        let (mut client, mut server) = pair();
        client.record.close = Close::Rst as u8 + 1;
        client.record.flags |= flow_flag::CLOSED_FIRST;
        assert_eq!(joined(&[client, server])[0].state, State::Live);
        server.record.close = Close::Fin as u8 + 1;
        let flow = &joined(&[client, server])[0];
        assert_eq!((flow.close, flow.closed_by), (Some(Close::Rst), Some(Side::Client)));
    }
}
