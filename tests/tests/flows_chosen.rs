//! Which flows `sidestep flows` shows, and who connects most: by time, by number, by process.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::flows::{of_pod, wait_closed};
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidestep::{Sidestep, ended};

/// Nothing is captured; the workload is a pod by name.
const FLAGS: [&str; 8] = ["-u", "1337", "-i", "", "-b", "", "--pod", "shop/web-0"];

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn ids(flows: &[Value]) -> Vec<u64> {
    flows.iter().map(|flow| flow["id"].as_u64().unwrap()).collect()
}

#[test]
fn flows_are_chosen_by_time_number_and_process() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("chosen").unwrap();
    let pod = &network.pod;
    let _attached = Sidestep::attach(pod, &FLAGS).unwrap();
    let server = Server::on(pod).listen(at(7000)).echo().start().unwrap();
    let load = Load::lasting(at(7000), 3).start(pod).unwrap();
    let _other = Server::on(pod).listen(at(7001)).start().unwrap();
    for _ in 0..5 {
        Connect::to(at(7001)).from(pod).unwrap();
    }
    wait_closed(pod, &["--port", "7001"], 5).unwrap();
    let all = of_pod(pod, &[]).unwrap();
    assert_eq!(all.len(), 8, "{all:#?}");
    for flow in &all {
        assert_eq!((&flow["namespace"], &flow["pod"]), (&json!("shop"), &json!("web-0")), "{flow:#}");
        let lasted = flow["duration_us"].as_u64().unwrap();
        if let Some(close) = flow["times"]["close"].as_u64() {
            let between = close - flow["times"]["syn"].as_u64().unwrap();
            assert!(lasted.abs_diff(between) <= 1, "{lasted} and {between}: {flow:#}");
        }
    }
    // In the order in which they began.
    assert_eq!(ids(&of_pod(pod, &["--last", "2"]).unwrap()), ids(&all)[6..]);
    assert_eq!(of_pod(pod, &["--since", "1h"]).unwrap().len(), 8);
    assert_eq!(of_pod(pod, &["--since", "0s"]).unwrap(), Vec::<Value>::new());
    let pid = server.processes()[0].pid();
    let of_server = of_pod(pod, &["--pid", &pid.to_string()]).unwrap();
    assert_eq!(ids(&of_server), ids(&all[..3]), "{of_server:#?}");
    assert!(of_server.iter().all(|flow| flow["server_process"]["pid"] == pid), "{of_server:#?}");
    assert_eq!(of_pod(pod, &["--pid", "1"]).unwrap(), Vec::<Value>::new());

    let callers = |by: &str| of_pod(pod, &["--top", "10", "--by", by]).unwrap();
    // Each of the five was a process of its own; the load is one.
    let by_number = callers("connections");
    assert_eq!(by_number.len(), 6, "{by_number:#?}");
    let first = &by_number[0];
    assert_eq!((&first["connections"], &first["live"]), (&json!(3), &json!(3)), "{first:#}");
    assert_eq!(
        (&first["destination"], &first["hop"]),
        (&json!("127.0.0.1:7000"), &json!("direct")),
        "{first:#}"
    );
    assert_eq!(first["process"]["comm"], "lab-agent", "{first:#}");
    let bytes: Vec<u64> = callers("bytes").iter().map(|of| of["bytes"].as_u64().unwrap()).collect();
    assert!(bytes.is_sorted_by(|a, b| a >= b), "{bytes:?}");
    let by_process = callers("process");
    assert!(
        by_process.iter().all(|of| of["destination"].is_null() && of["hop"].is_null()),
        "{by_process:#?}"
    );
    assert_eq!(of_pod(pod, &["--top", "2"]).unwrap().len(), 2);
    assert!(load.finish().unwrap().failed.is_empty());
}

/// In a pipe each row has all columns.
#[test]
fn rows_say_when_who_and_which_pod() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("rows").unwrap();
    let _attached = Sidestep::attach(&network.pod, &FLAGS).unwrap();
    let _server = Server::on(&network.pod).listen(at(7000)).start().unwrap();
    Connect::to(at(7000)).from(&network.pod).unwrap();
    let flow = &wait_closed(&network.pod, &[], 1).unwrap()[0];
    let text = ended(["flows", "--workload", flow["workload"].as_str().unwrap()]).unwrap().stdout;
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    assert_eq!(head[6..], ["LASTED", "BEGAN UTC", "PROCESSES", "WORKLOAD"], "{text}");
    let row = lines.next().unwrap();
    let pid = |side: &str| flow[side]["pid"].to_string();
    assert_eq!(
        row[8],
        format!("lab-agent {} > lab-agent {}", pid("client_process"), pid("server_process")),
        "{text}"
    );
    assert_eq!(row[9], "shop/web-0", "{text}");
    assert!(row[7].starts_with("20") && row[7].ends_with('Z'), "{text}");
}

#[test]
fn what_makes_no_sense_is_said() {
    for (args, said) in [
        (&["flows", "--since", "5"][..], "30s, 5m"),
        (&["flows", "--top", "--output", "json"], "--output: --top without a number is the live view"),
        (&["flows", "--top", "--by", "bytes"], "--by: --top without a number"),
        (&["flows", "--by", "bytes"], "--top"),
        (&["flows", "--top", "many"], "many"),
        (&["flows", "--stuck", "-f"], "--follow"),
    ] {
        let wrong = ended(args).unwrap();
        assert_eq!(wrong.code, Some(64), "{args:?}: {wrong:?}");
        assert!(wrong.stderr.contains(said) && wrong.stdout.is_empty(), "{args:?}: {wrong:?}");
    }
}
