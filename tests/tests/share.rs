//! How much of what could skip the stack did: the same figure everywhere, and the true one. Why the rest did not is told to
//! the byte, with the program that is the reason.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use tests::accelerated::{Accelerated, streams};
use tests::agent;
use tests::data_plane::DataPlane;
use tests::flows::{split, wait_closed};
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::server::APP_USER;
use tests::sidestep::status_of;

/// Each way.
const REDIRECTED: u64 = 3_000_000;
const STACKED: u64 = 2_500_000;
const ELSEWHERE: u64 = 2_000_000;
/// Streams to the program nobody vouches for: before the first its listener is not known, before the second it is.
const TO_STRANGER: u64 = 2;
/// The tool's own header on each stream, each way.
const HEADER: u64 = 100;

/// What is `sent`, but for the headers of so many streams.
fn about(seen: u64, sent: u64, streams: u64) -> bool {
    (sent..=sent + 2 * streams * HEADER).contains(&seen)
}

fn of_workload(answer: &Value, name: &str) -> Value {
    let all = answer["workloads"].as_array().unwrap();
    all.iter().find(|workload| workload["workload"] == name).unwrap().clone()
}

fn number(value: &Value, at: &str) -> u64 {
    value.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {at}: {value:#}"))
}

/// A program that attach has not seen.
fn copied(pod: &Pod) -> PathBuf {
    let program = pod.scratch().join("stranger");
    std::fs::copy(agent::path().unwrap(), &program).unwrap();
    program
}

/// A stream with a server that nobody vouches for.
fn stranger(pod: &Pod, at: SocketAddr) {
    let server = pod.command(copied(pod)).args(["stream", "serve", "--listen", &at.to_string()]);
    let server = server.user(APP_USER.0, APP_USER.1).spawn().unwrap();
    server.wait_for("ready").unwrap();
    let seen = streams::Client::to(at, 1, STACKED).streams(TO_STRANGER).run(pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (TO_STRANGER, 0), "{seen:?}");
}

fn trusted(network: &Network, server: &Pod, at: SocketAddr, bytes: u64) {
    let _server = streams::serve(server, at, &[]).unwrap();
    let seen = streams::Client::to(at, 1, bytes).burst(50_000).run(&network.pod).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (1, 0), "{seen:?}");
}

#[test]
fn one_share_and_the_true_one() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation]) {
        return;
    }
    let network = Network::new("share-true").unwrap();
    let pod = &network.pod;
    let _attached = Accelerated::new("safe-readers").attach(pod).unwrap();
    trusted(&network, pod, network.pod4(7000), REDIRECTED);
    stranger(pod, network.pod4(7001));
    // That pod is not attached.
    trusted(&network, &network.outside, network.outside4(7002), ELSEWHERE);
    let flows = wait_closed(pod, &[], 2 + TO_STRANGER as usize).unwrap();

    let name = pod.workload().unwrap();
    let status = status_of(pod).unwrap();
    let share = &status["share"];
    let (redirected, stacked) = (number(share, "/redirected"), number(share, "/stacked"));
    assert!(
        about(redirected + stacked, 2 * (REDIRECTED + TO_STRANGER * STACKED), 1 + TO_STRANGER),
        "{share:#}"
    );
    assert!(about(number(share, "/elsewhere"), 2 * ELSEWHERE, 1), "{share:#}");
    assert_eq!(number(share, "/percent"), redirected * 100 / (redirected + stacked), "{share:#}");
    let truth = 100 * REDIRECTED / (REDIRECTED + TO_STRANGER * STACKED);
    assert!((truth - 2..=truth).contains(&number(share, "/percent")), "{truth} %: {share:#}");

    // Each byte on the stack has its reason, and a process that is one is named.
    let reasons = share["reasons"].as_object().unwrap();
    let untrusted = reasons["untrusted_reader"].as_u64().unwrap();
    assert!(about(untrusted, 2 * TO_STRANGER * STACKED, TO_STRANGER), "{share:#}");
    let all: u64 = reasons.values().map(|bytes| bytes.as_u64().unwrap()).sum();
    assert!(stacked.abs_diff(all) <= stacked / 100, "{stacked} bytes, reasons for {all}: {share:#}");
    assert!(reasons.get("no_peer").is_none_or(|bytes| bytes.as_u64() < Some(10_000)), "{share:#}");
    let named = &status["stacked_by"][0];
    assert_eq!(
        (&named["program"], &named["reason"]),
        (&"stranger".into(), &"untrusted_reader".into()),
        "{named}"
    );
    assert_eq!(number(named, "/connections"), TO_STRANGER, "{named}");
    // In words, with what it costs; the page says the same of the flows it lists.
    let why = |workload: &Value| {
        let causes = workload["why"].as_array().unwrap().clone();
        causes
            .into_iter()
            .find(|cause| cause["program"] == "stranger")
            .unwrap_or_else(|| panic!("{workload:#}"))
    };
    let cause = why(&status);
    assert_eq!((&cause["class"], &cause["reason"]), (&"unsafe reader".into(), &named["reason"]), "{cause}");
    assert_eq!((&cause["bytes"], &cause["connections"]), (&named["bytes"], &named["connections"]), "{cause}");
    let sentence = cause["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("stranger keeps ") && sentence.contains("untrusted_reader"), "{sentence}");

    // From the flows themselves.
    let sum = |is_wanted: fn(&Value) -> bool| -> (u64, u64) {
        let ways = flows.iter().filter(|flow| is_wanted(flow)).flat_map(|flow| {
            ["upload", "download"].map(|way| {
                let at = if flow[way]["written"].is_null() { "read" } else { "written" };
                split(flow, &format!("/{way}/{at}"))
            })
        });
        ways.fold((0, 0), |sum, way| (sum.0 + way.0, sum.1 + way.1))
    };
    assert_eq!(sum(|flow| flow["local"] == true), (redirected, stacked), "{flows:#?}");
    assert_eq!(sum(|flow| flow["local"] == false), (0, number(share, "/elsewhere")), "{flows:#?}");

    // The page and the metrics.
    let serve = Serve::start(&[]).unwrap();
    let page: Value = serde_json::from_str(&serve.get("/api/v1/node", &[]).unwrap().body).unwrap();
    assert_eq!(&of_workload(&page, &name)["share"], share);
    assert_eq!(why(&of_workload(&page, &name)), cause);
    let metrics = serve.metrics().unwrap();
    let label = format!("workload=\"{name}\"");
    for path in ["redirected", "stacked", "elsewhere"] {
        let carried = metrics.of("sidestep_carried_bytes_total", &[&label, &format!("path=\"{path}\"")]);
        assert_eq!(carried, number(share, &format!("/{path}")) as f64, "{path}");
    }
    let of_reason = |reason: &str| {
        metrics.of("sidestep_acceleration_bytes_total", &[&label, &format!("reason=\"{reason}\"")])
    };
    assert_eq!(
        (of_reason("redirected"), of_reason("untrusted_reader")),
        (redirected as f64, untrusted as f64)
    );
}

/// A server whose clients stay out of the map, in another workload: only their side knows why.
#[test]
fn what_is_sent_to_a_client_that_stays_out_has_its_reason() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation]) {
        return;
    }
    let network = Network::with_own_addresses("share-client").unwrap();
    let (clients, pod) = (&network.outside, &network.pod);
    let _attached = [pod, clients].map(|pod| Accelerated::new("safe-readers").attach(pod).unwrap());
    let at = network.pod4(7000);
    let _server = streams::serve(pod, at, &[]).unwrap();
    let client = clients.command(copied(clients)).args(["stream", "connect", "--flows=1", "--streams=1"]);
    let client = client.args([format!("--to={at}"), format!("--bytes={STACKED}")]);
    let seen = streams::finish(client.user(APP_USER.0, APP_USER.1).spawn().unwrap()).unwrap();
    assert_eq!((seen.completed, seen.corrupted), (1, 0), "{seen:?}");
    for pod in [pod, clients] {
        wait_closed(pod, &[], 1).unwrap();
        let status = status_of(pod).unwrap();
        // Each counts what it sends.
        let share = &status["share"];
        assert!(about(number(share, "/stacked"), STACKED, 1), "{share:#}");
        let reasons = share["reasons"].as_object().unwrap();
        assert_eq!(reasons.keys().collect::<Vec<_>>(), ["untrusted_reader"], "{share:#}");
        assert_eq!(reasons["untrusted_reader"], share["stacked"], "{share:#}");
        let named = &status["stacked_by"][0];
        assert_eq!((&named["program"], number(named, "/connections")), (&"stranger".into(), 1), "{named}");
    }
}
