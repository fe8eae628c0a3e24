//! What verbs print for programs: as `docs/schema` says, the same as YAML; for people: in a pipe without frames and colours.

use std::path::Path;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::Value;
use tests::agent;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::flows::wait_closed;
use tests::network::Network;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::schema::faults;
use tests::serve::Serve;
use tests::server::{Server, stand_in};
use tests::sidestep::{DEFAULT_FLAGS, Ended, ended, workload};
use tests::tmux::Tmux;

fn run(args: &[&str]) -> Ended {
    ended(args).unwrap()
}

/// What a verb prints for programs, checked; whatever its exit code.
fn documents(verb: &str, args: &[&str]) -> Vec<Value> {
    let said = run(&[args, &["--output", "json"]].concat());
    let documents: Vec<Value> = said
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?}: {error}: {said:?}")))
        .collect();
    assert!(!documents.is_empty(), "{args:?} printed nothing: {said:?}");
    documents.iter().for_each(|document| keeps_to(verb, document));
    documents
}

fn keeps_to(schema: &str, document: &Value) {
    if let Some(samples) = std::env::var_os("SIDESTEP_SCHEMA_SAMPLES") {
        use std::io::Write as _;
        let path = Path::new(&samples).join(format!("{schema}.jsonl"));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{document}").unwrap();
        return;
    }
    let path = agent::repository().join(format!("docs/schema/{schema}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = faults(&serde_json::from_str(&text).unwrap(), document);
    assert!(found.is_empty(), "{}: {found:#?}\n{document:#}", path.display());
    assert!(document["schema"].is_u64(), "{document:#}");
}

/// Traffic of each kind, so that fields have values.
fn traffic(network: &Network) {
    let pod = &network.pod;
    let to_itself = Connect::to("127.0.0.1:7000".parse().unwrap()).from(pod).unwrap();
    let outside = Connect::to(network.pod4(8080)).from(&network.outside).unwrap();
    let service = Connect::to("10.96.7.7:80".parse().unwrap()).from(pod).unwrap();
    for seen in [to_itself, outside, service] {
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
    }
    wait_closed(pod, &[], 3).unwrap();
}

#[test]
fn documents_are_as_the_schemas_say() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
        return;
    }
    let network = Network::new("output").unwrap();
    let place = workload(&network.pod);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let of = |verb: &[&'static str], more: &[&'static str]| [verb, more, &*place].concat();
    let attach = |more: &[&'static str]| documents("attach", &of(&["attach", "--pod", "shop/web-0"], more));
    let first = attach(&[&DEFAULT_FLAGS[..], &["--dual-stack"]].concat());
    assert_eq!((&first[0]["done"], &first[0]["changes"]), (&"attached".into(), &Value::Array(vec![])));
    let more = [
        &DEFAULT_FLAGS[..],
        &["--dual-stack", "-o", "9000", "-x", "10.99.0.0/16", "--redirect-dns", "--capture-all-dns"],
    ];
    let again = attach(&more.concat());
    assert_eq!(again[0]["done"], "updated");
    let name = again[0]["workload"].as_str().unwrap().to_owned();

    let _sidecar = stand_in(&network.pod).start().unwrap();
    let _app = Server::on(&network.pod).listen("127.0.0.1:7000".parse::<std::net::SocketAddr>().unwrap());
    let _app = _app.start().unwrap();
    traffic(&network);
    let status = documents("status", &["status"]);
    let workloads = status[0]["workloads"].as_array().unwrap();
    assert!(workloads.iter().any(|workload| workload["workload"] == name.as_str()), "{status:#?}");
    let text = status[0].to_string();
    for rust in ["\"All\"", "\"List\"", "\"Everyone\"", "\"Redirect\"", "\"None\"", "\"Only\""] {
        assert!(!text.contains(rust), "{rust} is no value of ours: {text}");
    }
    let flows = documents("flows", &["flows", "--workload", &name]);
    assert!(flows.iter().all(|flow| flow["workload"] == name.as_str()), "{flows:#?}");
    for by in ["connections", "bytes", "process"] {
        let callers = documents("flows_top", &["flows", "--top", "3", "--by", by, "--workload", &name]);
        assert!(callers.len() <= 3 && callers[0]["connections"].as_u64() >= Some(1), "{callers:#?}");
    }
    for to in ["10.96.7.7:80", "udp:10.96.7.7:53", "127.0.0.1:8080"] {
        let said = documents("explain", &["explain", "--from", "1000:1000", "--to", to, "--workload", &name]);
        assert_eq!(said[0]["workload"], name.as_str());
    }
    documents("explain", &["explain", "--from", "0:0@127.0.0.1", "--to", "10.96.7.7:80", "-i", "*"]);
    let own = std::process::id().to_string();
    documents("explain", &["explain", "--pid", &own, "--to", "10.96.7.7:80"]);
    let audit = documents("audit", &["audit", "--workload", &name]);
    assert!(!audit[0]["findings"].as_array().unwrap().is_empty(), "{audit:#?}");
    let node = documents("audit_all", &["audit", "--all"]);
    assert!(!node[0]["workloads"].as_array().unwrap().is_empty(), "{node:#?}");
    assert_eq!(documents("verify", &["verify", "--workload", &name])[0]["workload"], name.as_str());
    documents("doctor", &["doctor"]);
    documents("rules", &["rules", "-u", "1337", "-i", "*", "-b", "*", "--dual-stack"]);
    // A pod that says it wants none.
    let annotations = network.pod.scratch().join("annotations");
    std::fs::write(&annotations, "sidecar.istio.io/interceptionMode=\"NONE\"\n").unwrap();
    documents("nothing", &["rules", "--annotations", &annotations.display().to_string()]);
    let node: Value =
        serde_json::from_str(&Serve::start(&[]).unwrap().get("/api/v1/node", &[]).unwrap().body).unwrap();
    keeps_to("node", &node);
    // The same as YAML, which programs of this machine read as JSON: each line is a scalar's.
    for args in [&["status"][..], &["doctor"], &["flows"]] {
        let yaml = run(&[args, &["--output", "yaml"]].concat());
        assert!(yaml.stdout.starts_with("---\n") && yaml.stdout.contains("schema: "), "{args:?}: {yaml:?}");
    }
    documents("prune", &["prune"]);
    let detached = documents("detach", &of(&["detach"], &[]));
    assert_eq!(detached[0]["detached"], serde_json::json!([name]));
}

fn has_frames(text: &str) -> bool {
    text.contains(['─', '═', '│', '\u{1b}'])
}

#[test]
fn in_a_pipe_tables_are_lines_of_cells_with_tabs() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let network = Network::new("piped").unwrap();
    let place = workload(&network.pod);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    let _attached = tests::sidestep::Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(9090)).start().unwrap();
    Connect::to(network.pod4(9090)).from(&network.pod).unwrap();
    wait_closed(&network.pod, &[], 1).unwrap();
    let audit: Vec<&str> = ["audit"].into_iter().chain(place.iter().copied()).collect();
    for (args, cells) in [(&["status"][..], 8), (&["flows"], 10), (&["doctor"], 4), (&audit, 6)] {
        let said = run(args);
        assert!(!has_frames(&said.stdout), "{args:?}: {said:?}");
        let rows: Vec<&str> = said.stdout.lines().filter(|line| line.contains('\t')).collect();
        assert!(rows.len() >= 2, "{args:?}: {said:?}");
        assert!(rows.iter().all(|row| row.split('\t').count() == cells), "{args:?}: {rows:#?}");
    }
}

#[test]
fn status_waits_until_all_is_complete_and_not_longer_than_it_may() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("waits").unwrap();
    let workload = network.pod.workload().unwrap();
    let began = Instant::now();
    let late = run(&["status", "--workload", &workload, "--wait", "1"]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("still not so after 1 s") && late.stderr.contains(&workload), "{late:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    let asked = workload.clone();
    let waiting = std::thread::spawn(move || run(&["status", "--workload", &asked, "--wait", "60"]));
    let _attached = tests::sidestep::Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let done = waiting.join().unwrap();
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains(&workload), "{done:?}");
}

/// It ends when nobody reads.
#[test]
fn a_watched_status_is_printed_again_and_again() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let network = Network::new("watch").unwrap();
    let _attached = tests::sidestep::Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let name = network.pod.workload().unwrap();
    let binary = tests::sidestep::binary().unwrap();
    let line = format!("{} status --workload {name} --watch 1 | head -n 8", binary.display());
    let output = std::process::Command::new("timeout").args(["20", "sh", "-c", &line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.matches("WORKLOAD\t").count() >= 2, "{text}");
}

/// In terminals of two widths no line is broken by the terminal, and what went wrong stands out unless nobody wants colours.
#[rstest]
#[case::narrow(80)]
#[case::wide(200)]
fn on_a_terminal_tables_fit_and_failures_stand_out(#[case] width: u16) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("tmux", "tmux")]) {
        return;
    }
    let network = Network::new("terminal").unwrap();
    let _attached = tests::sidestep::Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let refused = Connect::to("10.96.7.7:80".parse().unwrap()).from(&network.pod).unwrap();
    assert_eq!(refused.outcome(), Outcome::Refused, "{refused:?}");
    wait_closed(&network.pod, &[], 1).unwrap();
    let _app = Server::on(&network.pod).listen(network.pod4(9090)).start().unwrap();
    let place = workload(&network.pod).join(" ");
    let binary = tests::sidestep::binary().unwrap().display().to_string();
    let terminal = Tmux::new(width, 90).unwrap();
    let mut count = 0;
    let mut shown = |line: &str| {
        count += 1;
        terminal.type_line(&format!("clear; {line}; echo d''one{count}")).unwrap();
        terminal.wait(|screen| screen.contains(&format!("done{count}"))).unwrap()
    };
    for (verb, head) in [
        ("status".to_owned(), "WORKLOAD"),
        ("flows".to_owned(), "STATE"),
        (format!("audit {place}"), "SERVER"),
        ("doctor".to_owned(), "CHECK"),
    ] {
        let screen = shown(&format!("{binary} {verb}"));
        let lines: Vec<&str> = screen.lines().collect();
        let table = lines.iter().position(|line| line.trim_start().starts_with(head));
        assert!(table.is_some(), "{verb} at {width}: {screen}");
        // A broken frame would begin a line with what was left of it.
        let frames: Vec<usize> = lines
            .iter()
            .filter(|line| line.starts_with(['─', '═']))
            .map(|line| line.chars().count())
            .collect();
        assert!(frames.windows(2).all(|pair| pair[0] == pair[1]), "{verb} at {width}: {screen}");
        assert!(frames.iter().all(|frame| *frame <= width.into()), "{verb} at {width}: {screen}");
    }
    let verify = format!("{binary} verify {place}");
    shown(&verify);
    let red = "\u{1b}[31mFAIL";
    assert!(terminal.coloured_screen().unwrap().contains(red), "{}", terminal.coloured_screen().unwrap());
    shown(&format!("{binary} flows"));
    assert!(terminal.coloured_screen().unwrap().contains("\u{1b}[31mrefused"));
    shown(&format!("NO_COLOR=1 {verify}"));
    let plain = terminal.coloured_screen().unwrap();
    assert!(plain.contains("FAIL") && !plain.contains(red), "{plain}");
}
