//! `sidestep history`: what was done to a workload, by whom, with which settings; it outlives the workload and fails nothing.

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proxy_common::names::program;
use proxy_plane::dataplane::{self, LAYOUT};
use proxy_user::cli;
use serde_json::{Value, json};
use tests::agent;
use tests::alone::alone;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::node_agent::{self, NodeAgent, is_enrolled};
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::schema::faults;
use tests::sidestep::{DEFAULT_FLAGS, Ended, Sidestep, ended, ended_command, workload};
use tests::wait::until;

fn history(args: &[&str]) -> Ended {
    ended([&["history"], args].concat()).unwrap()
}

/// What it has of a workload or pod; each line as the schema says.
fn entries(name: &str) -> Vec<Value> {
    let said = history(&["--workload", name, "--output", "json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let schema = fs::read_to_string(agent::repository().join("docs/schema/history.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let entries: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for entry in &entries {
        assert_eq!(faults(&schema, entry), [""; 0], "{entry:#}");
    }
    entries
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

/// By this process, as another build or on another kernel.
fn attach_here(pod: &Pod) {
    let words = [&["sidestep", "attach"], &DEFAULT_FLAGS[..]].concat();
    let args = words.into_iter().map(OsString::from);
    cli::run(args.chain(workload(pod).into_iter().map(OsString::from))).unwrap();
}

#[test]
fn each_attach_and_the_end_are_kept() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let _turn = alone();
    let (network, twin) = (Network::new("history").unwrap(), Network::new("history-twin").unwrap());
    let name = network.pod.workload().unwrap();
    let pod = &*format!("history/web-{name}");
    let flags = [&DEFAULT_FLAGS[..], &["--pod", pod]].concat();
    let attached = Sidestep::attach(&network.pod, &flags).unwrap();
    let other = Sidestep::attach(&twin.pod, &DEFAULT_FLAGS).unwrap();
    let hash = |it: &Sidestep| it.meta().unwrap()["config_hash"].clone();
    let first = hash(&attached);
    assert_eq!(first, hash(&other), "the same settings");
    attached.attach_again(&DEFAULT_FLAGS).unwrap();
    attached.attach_again(&[&DEFAULT_FLAGS[..], &["-o", "9000", "--observe", "off"]].concat()).unwrap();
    let second = hash(&attached);
    assert_ne!(first, second);
    drop(attached);

    let entries = entries(pod);
    assert_eq!(actions(&entries), ["attached", "renewed", "changed", "detached"]);
    let of = |field: &str| entries.iter().map(|entry| entry[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("config_hash"), [first.clone(), first, second.clone(), second]);
    assert_eq!(of("workload"), vec![json!(name); 4]);
    let who: Vec<_> = of("by").iter().map(|by| by["who"].clone()).collect();
    assert_eq!(who, ["attach", "attach", "attach", "detach"]);
    let changed = json!([
        { "setting": "-o (--istio-local-outbound-ports-exclude)", "before": "none", "after": "9000" },
        { "setting": "--observe", "before": "on", "after": "off" },
    ]);
    assert_eq!(entries[2]["changes"], changed);
    assert_eq!(entries[3]["reason"], Value::Null, "somebody asked for it");
    let version = ended(["--version"]).unwrap().stdout;
    let by = &entries[0]["by"];
    let built = format!("sidestep {} ({}", by["version"].as_str().unwrap(), by["commit"].as_str().unwrap());
    assert!(version.starts_with(&built), "{version} {built}");

    let table = history(&["--workload", pod, "--since", "1h"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert_eq!(lines[3][1..4], [pod, "changed", "attach"], "{table}");
    assert!(lines[3][5].contains("none -> 9000"), "{table}");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(history(&["--workload", pod, "--since", "10ms"]).stdout, "nothing was done\n");
    let wrong = history(&["--workload", "shop/no-such"]);
    assert!(wrong.code == Some(64) && wrong.stderr.contains("no workload 'shop/no-such'"), "{wrong:?}");
}

#[test]
fn it_fits_a_terminal() {
    if !DataPlane::Sidestep.met(&[Requirement::Program("script", "bsdutils")]) {
        return;
    }
    let _turn = alone();
    let network = Network::new("history-wide").unwrap();
    let name = network.pod.workload().unwrap();
    let attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let many = (0..90).map(|port| (9000 + port).to_string()).collect::<Vec<_>>().join(",");
    attached.attach_again(&[&DEFAULT_FLAGS[..], &["-o", &many]].concat()).unwrap();
    let binary = tests::sidestep::binary().unwrap();
    let line = format!("stty cols 80; {} history --workload {name}", binary.display());
    let said =
        std::process::Command::new("script").args(["--quiet", "--command", &line, "/dev/null"]).output();
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    let widest = said.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(widest <= Some(80) && said.contains("changed"), "{said}");
}

#[test]
fn another_version_and_what_the_kernel_refuses_are_kept() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let _turn = alone();
    let network = Network::new("history-taken").unwrap();
    let _attached = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    dataplane::pretend_layout(LAYOUT + 1);
    attach_here(&network.pod);
    dataplane::pretend_layout(0);
    attach_here(&network.pod);
    dataplane::pretend_refused(&[program::FLOW_OPS]);
    attach_here(&network.pod);
    dataplane::pretend_refused(&[]);
    let entries = entries(&network.pod.workload().unwrap());
    assert_eq!(actions(&entries), ["attached", "taken_over", "taken_over", "changed"]);
    let version = &entries[0]["by"]["version"];
    assert_eq!(entries[1]["from"], json!({ "version": version, "layout": LAYOUT }));
    assert_eq!(entries[2]["from"], json!({ "version": version, "layout": LAYOUT + 1 }));
    let refused = &entries[3];
    assert_eq!(refused["given_up"][0]["what"], "observation");
    let reason = refused["given_up"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("refuses the program flow_ops") && reason.len() <= 1600, "{reason}");
    assert_eq!(refused["changes"][0]["setting"], "observed", "{refused:#}");
    assert_eq!(refused["config_hash"], entries[0]["config_hash"], "nobody changed a setting");
}

/// No room, no directory, no file: the attach is done, and says so.
#[test]
fn it_fails_no_attach() {
    if !DataPlane::Sidestep.met(&[]) {
        return;
    }
    let _turn = alone();
    let network = Network::new("history-full").unwrap();
    let full = network.pod.scratch().join("full");
    fs::create_dir(&full).unwrap();
    mount(Some("none"), &full, Some("tmpfs"), MsFlags::empty(), Some("size=4k")).unwrap();
    fs::write(full.join("filled"), [0; 4096]).unwrap();
    let file = full.join("history.jsonl").display().to_string();
    let attached =
        Sidestep::attach_with(&network.pod, &DEFAULT_FLAGS, &[("SIDESTEP_HISTORY", &file)]).unwrap();
    umount2(&full, MntFlags::MNT_DETACH).unwrap();
    let said = attached.warnings().to_owned();
    assert!(said.contains("not kept in the history") && said.contains(&file), "{said}");
    drop(attached);
    for file in ["/dev/null", "/proc/nowhere/history.jsonl"] {
        let attached =
            Sidestep::attach_with(&network.pod, &DEFAULT_FLAGS, &[("SIDESTEP_HISTORY", file)]).unwrap();
        assert!(attached.warnings().contains("not kept in the history"), "{}", attached.warnings());
    }
    let attached =
        Sidestep::attach_with(&network.pod, &DEFAULT_FLAGS, &[("SIDESTEP_HISTORY", "none")]).unwrap();
    assert!(!attached.warnings().contains("history"), "{}", attached.warnings());
}

/// What the agent does, and what nobody asked for.
#[test]
fn the_agent_and_pods_that_are_gone() {
    if !node_agent::met() {
        return;
    }
    let mut node = NodeAgent::absent().unwrap();
    let network = Network::new("history-agent").unwrap();
    let name = network.pod.workload().unwrap();
    let entry = json!([{ "pod": "vm/one", "netns": network.pod.netns(), "cgroup": network.pod.cgroup() }]);
    let file = network.pod.scratch().join("workloads.json");
    fs::write(&file, entry.to_string()).unwrap();
    node.run(&["--static", &file.display().to_string()]).unwrap();
    until("it is enrolled", Duration::from_secs(20), || is_enrolled(&node, &network));
    network.pod.ip("addr add 10.97.1.51/32 dev eth0").unwrap();
    until("its addresses are looked at", Duration::from_secs(20), || entries(&name).len() >= 2);
    let entries_now = entries(&name);
    assert_eq!(actions(&entries_now)[..2], ["attached", "refreshed"]);
    assert_eq!((&entries_now[0]["by"]["who"], &entries_now[0]["pod"]), (&json!("agent"), &json!("one")));
    assert!(entries_now[1]["changes"].to_string().contains("10.97.1.51"), "{:#}", entries_now[1]);

    let root = PinRoot::new().unwrap();
    let dies = Network::new("history-gone").unwrap();
    root.attach(&dies.pod, &DEFAULT_FLAGS).unwrap();
    let gone = dies.pod.workload().unwrap();
    drop(dies);
    until("it is pruned", Duration::from_secs(20), || {
        ended_command(root.command(&["prune"]).unwrap()).unwrap().stdout.contains(&gone)
    });
    let last = entries(&gone).pop().unwrap();
    assert_eq!((&last["action"], &last["by"]["who"]), (&json!("detached"), &json!("prune")));
    assert_eq!(last["reason"], "its network namespace is gone");
}
