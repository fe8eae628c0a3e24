//! `explain` says of a connection what the programs do with it: the programs gather what the rules ask from the socket
//! and the route, and `explain` from the question. Sockets are bound to any address or to none, routes are of any kind.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use proxy_common::{
    addr::Addr,
    call::{Call, Refusal, destination},
    egress::egress,
    verdict::{Rule, Target},
    wire::{Owner, Route, route_flag},
};
use proxy_core::explain::{Answer, Caller, Destination, Outcome, Pod, Question, explain};

use crate::{
    connection::outgoing,
    settings::{Settings, settings},
    topology::OWN,
};
use tests::interpreter::Protocol;

const CASES: u32 = if cfg!(debug_assertions) { 300 } else { 5_000 };
const BOUND: [&str; 10] = [
    "0.0.0.0",
    "::",
    "127.0.0.1",
    "127.0.0.6",
    "127.9.9.9",
    "::1",
    "::6",
    "10.244.0.2",
    "fd00:244::2",
    "fd00::9",
];

const NO_HOST: [&str; 5] = ["0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "ff02::1"];

/// A call, and what the routing table says of its destination.
#[derive(Clone, Debug)]
struct Case {
    settings: Settings,
    question: Question,
    /// None: the default route.
    route: Option<Route>,
}

fn case() -> impl Strategy<Value = Case> {
    let bound = select(&BOUND[..]).prop_map(|ip| ip.parse::<IpAddr>().expect("an address"));
    let source = select(&["::", "10.244.0.2", "127.0.0.1", "::1", "fd00:244::2"][..]);
    let flags = select(&[
        0,
        route_flag::LOCAL,
        route_flag::EXCLUDED,
        route_flag::LOCAL | route_flag::EXCLUDED,
        route_flag::UNREACHABLE,
    ]);
    let route = (source, flags).prop_map(|(source, flags)| {
        let src = source.parse::<IpAddr>().expect("an address").into();
        Route { src, flags, reserved: [0; 3] }
    });
    // Now and then an address that no packet carries.
    let to = prop_oneof![
        8 => Just(None),
        2 => select(&NO_HOST[..]).prop_map(|ip| Some(ip.parse::<IpAddr>().expect("an address"))),
    ];
    let facts = (proptest::option::of(bound), proptest::option::of(route), to);
    (settings(), facts).prop_flat_map(|(settings, (bound, route, to))| {
        outgoing(&settings).prop_map(move |mut call| {
            call.dst = to.unwrap_or(call.dst);
            let src = bound.filter(|bound| bound.is_ipv4() == call.dst.is_ipv4());
            let question = Question {
                caller: Caller { owner: Some((call.uid, call.gid)), src },
                to: Destination { tcp: call.protocol == Protocol::Tcp, ip: call.dst, port: call.dport },
                inbound: false,
                interface: None,
                mark: call.mark,
            };
            Case { settings: settings.clone(), question, route }
        })
    })
}

/// As `outgoing::decide` of the programs, which has the facts of a socket.
fn of_program(pod: &Pod, question: &Question) -> Result<(Target, Rule), Refusal> {
    let Question { caller, to, mark, .. } = question;
    let (uid, gid) = caller.owner.expect("an owner");
    // A socket that is not bound carries the unspecified address of its family.
    let unbound = if to.ip.is_ipv4() { Addr::v4([0; 4]) } else { Addr::UNSPECIFIED };
    let bound = caller.src.map_or(unbound, Addr::from);
    let dst = destination(to.ip.into(), &bound);
    let call = Call { tcp: to.tcp, dst, dport: to.port, bound, mark: *mark };
    let gathered = call.gather(pod.route(dst.into()), || Owner { uid, gid })?;
    let verdict = egress(&pod.tables, &gathered);
    Ok((verdict.target, verdict.rule))
}

fn of_explain(pod: &Pod, answer: &Answer) -> Result<(Target, Rule), Refusal> {
    let ports = pod.config.ports;
    let target = match &answer.verdict {
        Outcome::Bypass => Target::Bypass,
        Outcome::Outbound { port } if *port == ports.outbound => Target::Outbound,
        Outcome::Inbound { port } if *port == ports.inbound => Target::Inbound,
        Outcome::Dns { port } if *port == ports.dns => Target::Dns,
        Outcome::Refused { reason } => {
            let known = [Refusal::NoWay, Refusal::LoopbackSource, Refusal::Multicast];
            return Err(known.into_iter().find(|it| it.describe() == reason).expect(reason));
        }
        other => panic!("{other:?} names a port that is not the listener's"),
    };
    let row = answer.row.expect("a row");
    Ok((target, Rule::ALL.iter().copied().find(|rule| rule.name() == row).expect(row)))
}

/// What both say.
fn agreed(case: &Case) -> Result<(Target, Rule), Refusal> {
    let own: Vec<IpAddr> = OWN.iter().map(|ip| ip.parse().expect("an address")).collect();
    let mut pod = Pod::of_flags(case.settings.config.clone(), &own, None);
    let to = case.question.to.ip;
    match case.route {
        // Longer than any other: it is the destination's own.
        Some(route) => {
            pod.tables.routes.retain(|(net, _)| *net != IpNet::from(to));
            pod.tables.routes.push((IpNet::from(to), route));
        }
        None => pod.tables.routes.retain(|(net, _)| net.prefix_len() != 0),
    }
    let said = of_explain(&pod, &explain(&pod, &case.question).expect("an answer"));
    assert_eq!(said, of_program(&pod, &case.question), "{case:?}");
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn explain_says_what_the_programs_do(case in case()) {
        let _ = agreed(&case);
    }
}

/// The cases above are worth something.
#[test]
fn every_refusal_and_every_target_are_met() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..600 {
        let case = case().new_tree(&mut runner).expect("a case").current();
        met.insert(match agreed(&case) {
            Ok((target, _)) => target.name(),
            Err(Refusal::NoWay) => "no way",
            Err(Refusal::LoopbackSource) => "loopback source",
            Err(Refusal::Multicast) => "multicast",
        });
    }
    let all =
        BTreeSet::from(["bypass", "dns", "inbound", "loopback source", "multicast", "no way", "outbound"]);
    assert_eq!(met, all);
}
