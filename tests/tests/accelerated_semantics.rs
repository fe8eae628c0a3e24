//! What programs may expect of TCP, compared with and without acceleration. What differs is listed with the kernel's
//! reason; any other difference fails.

use std::collections::BTreeMap;

use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::APP_USER;

type Outcomes = BTreeMap<String, String>;

/// Outcomes of `lab-agent semantics` under `accelerated`, and what became of the messages meanwhile.
fn outcomes(accelerated: &Accelerated) -> (Outcomes, Acceleration) {
    let network = Network::new("semantics").unwrap();
    let _attached = accelerated.attach(&network.pod).unwrap();
    let command = network.pod.lab_agent("semantics").unwrap().user(APP_USER.0, APP_USER.1);
    let outcomes: Outcomes = command.run_json().unwrap();
    let status = Acceleration::of_pod(&network.pod).unwrap();
    println!("{:?}", status.counters);
    (outcomes, status)
}

/// Name of the scenario, and why it differs on a socket that is in the map (docs/kernel.md: "A socket in the map").
type Difference = (&'static str, &'static str);

/// In the map and redirected, whoever reads.
const REDIRECTED: &[Difference] = &[
    ("close with unread data", "tcp_bpf_close: a queue of its own, whose unread bytes cause no reset"),
    ("send after shutdown", "tcp_bpf_sendmsg: does not look at the shutdown of its own side"),
    ("shutdown of reading", "tcp_bpf_recvmsg: reads its queue whatever the shutdown says"),
    ("discard", "sk_msg_recvmsg: copies, MSG_TRUNC is not known to it"),
    ("SO_RCVLOWAT", "tcp_bpf: any queued byte makes the socket readable"),
    ("TCP_CORK holds back", "the hand-over knows no segments to hold back"),
    ("MSG_OOB", "the hand-over knows no urgent pointer: in line"),
    ("MSG_ZEROCOPY", "tcp_bpf_sendmsg copies, and reports no completion"),
    ("FIONREAD", "tcp_bpf_ioctl: before 6.12.114 and 7.2 it counts only what was redirected"),
];

/// Any socket in the map.
const ENTERED: &[Difference] =
    &[("kernel TLS", "EPERM of our own: what was handed over before would be plain text")];

/// What only a user who has no such switch vouched for a program that does splice, sees.
const SPLICING: &[Difference] = &[(
    "splice out",
    "tcp_splice_read: does not see the redirected queue; strict keeps such readers on the stack",
)];

/// Readers that block, in the map: [`ANY_READER`] only.
const BLOCKING: &[Difference] = &[
    (
        "reset of an idle reader",
        "tcp_msg_wait_data: EAGAIN at a wake-up without data, the error with the next call",
    ),
    ("MSG_WAITALL", "tcp_bpf_recvmsg: returns what is queued"),
    ("signal while reading", "tcp_msg_wait_data: EAGAIN instead of a restart"),
];

fn assert_same(title: &str, plain: &Outcomes, seen: &Outcomes, expected: &[&[Difference]]) {
    let mut unexpected = Vec::new();
    for (name, plain) in plain {
        let seen = &seen[name];
        let scenario = name.split(',').next().unwrap_or_default();
        let reason = expected.iter().copied().flatten().find(|(known, _)| *known == scenario);
        match (plain == seen, reason) {
            (true, _) => {}
            (false, Some((_, reason))) => println!("{title}: {name}: {plain} -> {seen}\n    {reason}"),
            (false, None) => {
                unexpected.push(format!("{name}:\n    plain       {plain}\n    accelerated {seen}"))
            }
        }
        // Whatever differs: no byte is lost, out of place or stuck.
        for fault in ["WRONG", "LOST", "stuck"] {
            if seen.contains(fault) && !plain.contains(fault) {
                unexpected.push(format!("{name}: {seen}"));
            }
        }
    }
    assert!(unexpected.is_empty(), "{title}:\n{}", unexpected.join("\n"));
}

#[test]
fn as_over_the_stack() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let messages = |seen: &Acceleration, reason| seen.of(reason).messages;
    let (plain, none) = outcomes(&Accelerated::new("off"));
    assert_eq!(messages(&none, "redirected"), 0);
    println!("{plain:#?}");
    let (again, _) = outcomes(&Accelerated::new("off"));
    assert_same("twice without", &plain, &again, &[]);

    // lab-agent can splice: strict finds that out by itself, and nothing differs.
    let (strict, seen) = outcomes(&Accelerated::new("safe-readers").trusting_nobody());
    assert_eq!(messages(&seen, "redirected"), 0, "a program that may splice is not accelerated");
    assert_same("safe-readers", &plain, &strict, &[]);

    let (trusted, seen) = outcomes(&Accelerated::new("safe-readers"));
    assert!(messages(&seen, "redirected") > 100, "{seen:?}");
    assert_eq!(messages(&seen, "edge_reader"), 0, "it was vouched for: {seen:?}");
    let blocking_differs: Vec<_> = plain
        .iter()
        .filter(|(name, plain)| name.ends_with("blocking") && trusted[*name] != **plain)
        .collect();
    assert!(blocking_differs.is_empty(), "strict leaves blocking sockets alone: {blocking_differs:#?}");
    assert_same("strict, trusted", &plain, &trusted, &[REDIRECTED, ENTERED, SPLICING]);

    let (auto, seen) = outcomes(&Accelerated::new(ANY_READER));
    assert!(messages(&seen, "redirected") > 200, "{seen:?}");
    assert_same(ANY_READER, &plain, &auto, &[REDIRECTED, ENTERED, SPLICING, BLOCKING]);

    // The same, but nobody says that it reads until nothing is left: how it waits decides. A limit that little reaches
    // would make a seam in what waits.
    for unknown in [Accelerated::new(ANY_READER), Accelerated::new(ANY_READER).limit(64)] {
        let (outcomes, seen) = outcomes(&unknown.clone().trusting_nobody());
        assert_same(&format!("{unknown:?}"), &plain, &outcomes, &[REDIRECTED, ENTERED, SPLICING, BLOCKING]);
        assert!(messages(&seen, "edge_reader") > 0, "{seen:?}");
    }
}
