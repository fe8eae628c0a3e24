//! A real Prometheus scrapes `sidestep serve`, and promtool finds nothing to say about the page.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use proxy_user::serve::metrics::{Family, SOURCES};
use serde_json::{Value, json};
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::node_agent::NodeAgent;
use tests::process::Process;
use tests::readiness;
use tests::requirement::Requirement;
use tests::serve::Serve;
use tests::server;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use tests::wait::until;

const SCRAPED_WITHIN: Duration = Duration::from_secs(60);

fn can() -> bool {
    let tools = [("curl", "curl"), ("prometheus", "prometheus"), ("promtool", "prometheus")];
    DataPlane::Sidestep.met(&tools.map(|(program, package)| Requirement::Program(program, package)))
}

/// Names of the families on a page, as its TYPE lines have them.
fn exposed(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

#[test]
fn promtool_has_nothing_to_say_and_every_family_is_there() {
    if !can() {
        return;
    }
    let network = Network::new("promtool").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let serve = Serve::start(&[]).unwrap();
    let page = serve.get("/metrics", &[]).unwrap().body;
    let said = serve.pod().command("promtool").args(["check", "metrics"]).input(&page).run().unwrap();
    assert_eq!(said, "");
    let declared: BTreeSet<String> = families().map(Family::exposed_name).collect();
    assert_eq!(exposed(&page), declared);
}

/// The agent's page has all of that, and its own.
#[test]
fn promtool_has_nothing_to_say_of_the_agents_page() {
    if !can() {
        return;
    }
    let network = Network::new("promtool-agent").unwrap();
    let list = network.pod.scratch().join("list.json");
    let entry = json!([{
        "pod": "shop/web-5d8-abc", "netns": network.pod.netns(), "cgroup": network.pod.cgroup(),
        "labels": { "pod-template-hash": "5d8" },
    }]);
    std::fs::write(&list, entry.to_string()).unwrap();
    let node = NodeAgent::start(&["--static", &list.display().to_string()]).unwrap();
    let of_pod = |text: &str| text.lines().any(|line| line.contains("canonical_service=\"web\""));
    until("the pod is on the page", SCRAPED_WITHIN, || of_pod(&node.get("/metrics").unwrap()));
    let text = node.get("/metrics").unwrap();
    let said = network.pod.command("promtool").args(["check", "metrics"]).input(&text).run().unwrap();
    assert_eq!(said, "");
    let all: BTreeSet<String> =
        SOURCES.iter().flat_map(|source| source.families()).map(Family::exposed_name).collect();
    let missing: Vec<_> = all.difference(&exposed(&text)).cloned().collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// Of `sidestep serve`.
fn families() -> impl Iterator<Item = &'static Family> {
    SOURCES.iter().filter(|source| !source.is_the_agents()).flat_map(|source| source.families())
}

/// A Prometheus in the pod of `serve`, scraping it once a second.
fn prometheus(serve: &Serve) -> (Process, SocketAddr) {
    let pod = serve.pod();
    let at: SocketAddr = "127.0.0.1:9090".parse().unwrap();
    let config = pod.scratch().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: sidestep\n  static_configs:\n  - targets: ['{}']\n",
        serve.address()
    );
    std::fs::write(&config, text).unwrap();
    let process = pod
        .command("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", pod.scratch().join("tsdb").display()))
        .args([format!("--web.listen-address={at}"), "--log.level=warn".to_owned()])
        .spawn()
        .unwrap();
    readiness::http_ok(&process, at, "/-/ready", SCRAPED_WITHIN).unwrap();
    (process, at)
}

/// What Prometheus answers once it contains `until`.
fn ask(serve: &Serve, (process, at): &(Process, SocketAddr), path: &str, until: &str) -> Value {
    readiness::http_contains(process, *at, path, until, SCRAPED_WITHIN).unwrap();
    serde_json::from_str(&serve.fetch(*at, path, &[]).unwrap().body).unwrap()
}

#[test]
fn prometheus_scrapes_it() {
    if !can() {
        return;
    }
    let network = Network::new("prometheus").unwrap();
    let _sidestep = Sidestep::attach(&network.pod, &DEFAULT_FLAGS).unwrap();
    let _sidecar = server::stand_in(&network.pod).start().unwrap();
    for _ in 0..3 {
        Connect::to(network.outside4(80)).from(&network.pod).unwrap();
    }
    let serve = Serve::start(&[]).unwrap();
    let prometheus = prometheus(&serve);
    let workload = network.pod.workload().unwrap();
    let query = format!("sidestep_decisions_total%7Brule%3D%22O15%22,workload%3D%22{workload}%22%7D");
    let found = ask(&serve, &prometheus, &format!("/api/v1/query?query={query}"), &workload);
    let series = &found["data"]["result"][0];
    assert_eq!((&series["metric"]["rule"], &series["value"][1]), (&"O15".into(), &"3".into()), "{found}");

    let targets = ask(&serve, &prometheus, "/api/v1/targets", "\"health\":\"up\"");
    assert_eq!(targets["data"]["activeTargets"][0]["lastError"], "", "{targets}");
    // What Prometheus understood of the OpenMetrics page: families by their names without suffix.
    let known = ask(&serve, &prometheus, "/api/v1/metadata", "sidestep_build");
    for family in families() {
        let name = family.exposed_name();
        let short = name.trim_end_matches("_total").trim_end_matches("_info");
        assert_eq!(known["data"][short][0]["type"], family.kind.name(), "{name}: {known}");
        assert_eq!(known["data"][short][0]["help"], family.help, "{name}: {known}");
    }
}

#[test]
fn promtool_takes_the_alert_rules() {
    if !can() {
        return;
    }
    let directory = tests::agent::repository().join("deploy/prometheus");
    for (verb, file) in [("check", "sidestep.rules.yaml"), ("test", "sidestep.rules.test.yaml")] {
        let mut command = std::process::Command::new("promtool");
        command.args([verb, "rules", file]).current_dir(&directory);
        let ended = tests::sidestep::ended_command(command).unwrap();
        assert_eq!(ended.code, Some(0), "{file}: {ended:?}");
    }
}
