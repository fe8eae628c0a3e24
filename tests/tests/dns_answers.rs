//! Questions to the agent over UDP, and of the sidecar to resolvers: how many, what came of them, and how long answers
//! took, by resolvers that keep one waiting, fail, or say nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use tests::data_plane::DataPlane;
use tests::dns::{AGENT, Ask};
use tests::network::Network;
use tests::process::Process;
use tests::requirement::Requirement;
use tests::serve::{self, Metrics, Serve};
use tests::server::PROXY_USER;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const DNS: [&str; 2] = ["--redirect-dns", "--capture-all-dns"];
/// `proxy_common::questions::PATIENCE`, and a moment.
const OVER: Duration = Duration::from_millis(5_200);

struct Lab {
    network: Network,
    attached: Option<Sidestep>,
    serve: Serve,
    label: String,
}

impl Lab {
    fn new(name: &str, flags: &[&str]) -> Option<Self> {
        if !DataPlane::Sidestep.met(&[Requirement::Observation, Requirement::Program("curl", "curl")]) {
            return None;
        }
        let network = Network::new(name).unwrap();
        let flags = [&DEFAULT_FLAGS[..], flags, &["--dual-stack"]].concat();
        let attached = Sidestep::attach(&network.pod, &flags).unwrap();
        let label = serve::label(&network.pod).unwrap();
        Some(Self { network, attached: Some(attached), serve: Serve::start(&[]).unwrap(), label })
    }

    /// A resolver in the agent's place.
    fn agent(&self, options: &[&str]) -> Process {
        let command = self.network.pod.lab_agent("dns-answer").unwrap().user(PROXY_USER.0, PROXY_USER.1);
        let command = command.args(["--listen", AGENT[0], "--listen", AGENT[1]]).args(options);
        let process = command.spawn().unwrap();
        process.wait_for("ready").unwrap();
        process
    }

    /// The same in the page's API.
    fn questions(&self) -> Value {
        let node = self.serve.get("/api/v1/node", &[]).unwrap().body;
        let node: Value = serde_json::from_str(&node).unwrap();
        let name = self.network.pod.workload().unwrap();
        let workloads = node["workloads"].as_array().unwrap();
        workloads.iter().find(|workload| workload["workload"] == *name).unwrap()["questions"].clone()
    }

    /// A resolver that the sidecar asks.
    fn resolver(&self, address: &str, options: &[&str]) -> Process {
        let command = self.network.outside.lab_agent("dns-answer").unwrap();
        let process = command.args(["--listen", address]).args(options).spawn().unwrap();
        process.wait_for("ready").unwrap();
        process
    }

    /// Another address of the outside's.
    fn address(&self, address: &str) -> String {
        let prefix = if address.contains(':') { "128 nodad" } else { "32" };
        self.network.outside.ip(&format!("addr add {address}/{prefix} dev lo\n")).unwrap();
        SocketAddr::new(address.parse().unwrap(), 53).to_string()
    }

    fn metrics(&self) -> Seen<'_> {
        Seen { metrics: self.serve.metrics().unwrap(), label: &self.label }
    }
}

struct Seen<'a> {
    metrics: Metrics,
    label: &'a str,
}

impl Seen<'_> {
    fn has_any(&self) -> bool {
        let page = &self.metrics.0;
        page.lines().any(|line| line.starts_with("sidestep_dns_") && line.contains(self.label))
    }

    fn asked(&self) -> f64 {
        self.metrics.of("sidestep_dns_questions_total", &[self.label])
    }

    fn outcome(&self, outcome: &str) -> f64 {
        let outcome = format!("outcome=\"{outcome}\"");
        self.metrics.of("sidestep_dns_outcomes_total", &[self.label, &outcome])
    }

    fn outcomes(&self) -> f64 {
        self.metrics.of("sidestep_dns_outcomes_total", &[self.label])
    }

    /// Of the answers that took less than a bound.
    fn within(&self, le: &str) -> f64 {
        let le = format!("le=\"{le}\"");
        self.metrics.of("sidestep_dns_answer_duration_seconds_bucket", &[self.label, &le])
    }

    fn seconds(&self) -> f64 {
        self.metrics.of("sidestep_dns_answer_duration_seconds_sum", &[self.label])
    }
}

/// Of a resolver that the sidecar asks.
struct Upstream<'a> {
    seen: &'a Seen<'a>,
    resolver: String,
}

impl<'a> Seen<'a> {
    fn upstream(&'a self, resolver: &str) -> Upstream<'a> {
        Upstream { seen: self, resolver: format!("resolver=\"{resolver}\"") }
    }

    /// All resolvers that are shown.
    fn resolvers(&self) -> BTreeSet<String> {
        let series = self.metrics.series("sidestep_dns_upstream_outcomes_total");
        let own = series.filter(|(labels, _)| labels.contains(self.label));
        own.filter_map(|(labels, _)| Some(labels.split_once("resolver=\"")?.1.split_once('"')?.0.to_owned()))
            .collect()
    }
}

impl Upstream<'_> {
    fn outcome(&self, outcome: &str) -> f64 {
        let labels = [self.seen.label, &self.resolver, &format!("outcome=\"{outcome}\"")];
        self.seen.metrics.of("sidestep_dns_upstream_outcomes_total", &labels)
    }

    fn outcomes(&self) -> f64 {
        self.seen.metrics.of("sidestep_dns_upstream_outcomes_total", &[self.seen.label, &self.resolver])
    }

    fn within(&self, le: &str) -> f64 {
        let labels = [self.seen.label, &self.resolver, &format!("le=\"{le}\"")];
        self.seen.metrics.of("sidestep_dns_upstream_answer_duration_seconds_bucket", &labels)
    }

    fn seconds(&self) -> f64 {
        let labels = [self.seen.label, self.resolver.as_str()];
        self.seen.metrics.of("sidestep_dns_upstream_answer_duration_seconds_sum", &labels)
    }
}

fn servers(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 53)).collect()
}

/// One socket for all, one connected socket for each, one whose IPv4 servers are mapped addresses.
#[rstest]
#[case::unconnected(Ask::new(servers(&["10.96.0.10"])), 8)]
#[case::several_servers(Ask::new(servers(&["10.96.0.10", "10.96.0.11"])), 16)]
#[case::connected(Ask::new(servers(&["10.96.0.10"])).connected(), 8)]
#[case::ipv6(Ask::new(servers(&["fd00:96::10"])), 8)]
#[case::ipv6_connected(Ask::new(servers(&["fd00:96::10"])).connected(), 8)]
#[case::mapped(Ask::new(servers(&["10.96.0.10", "fd00:96::10"])), 16)]
fn a_slow_resolver_is_seen(#[case] ask: Ask, #[case] questions: u32) {
    let Some(lab) = Lab::new("dns-slow", &DNS) else { return };
    assert!(!lab.metrics().has_any() && lab.questions().is_null(), "nobody has asked");
    let _agent = lab.agent(&["--after-ms", "50"]);
    let answers = ask.rounds(8).from(&lab.network.pod).unwrap();
    assert!(answers.iter().all(|answer| answer.from == Some(answer.server)), "{answers:?}");
    let (seen, expected) = (lab.metrics(), f64::from(questions));
    assert_eq!((seen.asked(), seen.outcome("noerror"), seen.outcomes()), (expected, expected, expected));
    assert_eq!((seen.within("0.016384"), seen.within("+Inf")), (0.0, expected));
    // A busy machine may take its time.
    assert!(seen.within("1.048576") == expected && seen.seconds() >= 0.05 * expected, "{}", seen.seconds());
    let of_page = lab.questions();
    let answered = json!([{
        "outcome": "noerror", "questions": questions, "describe": "answered", "failed": false,
    }]);
    assert_eq!((&of_page["asked"], &of_page["outcomes"]), (&json!(questions), &answered), "{of_page:#}");
    let [half, most] = ["p50_us", "p99_us"].map(|share| of_page[share].as_u64().unwrap());
    assert!((1 << 16..=1 << 20).contains(&half) && half <= most && most.is_power_of_two(), "{of_page:#}");
}

#[rstest]
#[case("2", "servfail")]
#[case("3", "nxdomain")]
#[case("5", "refused")]
#[case("4", "other")]
fn a_failing_resolver_is_seen(#[case] code: &str, #[case] outcome: &str) {
    let Some(lab) = Lab::new("dns-fail", &DNS) else { return };
    let _agent = lab.agent(&["--code", code]);
    let ask = Ask::new(servers(&["10.96.0.10"])).rounds(5);
    let answers = ask.from(&lab.network.pod).unwrap();
    assert!(answers.iter().all(|answer| answer.error.is_some()), "{answers:?}");
    let seen = lab.metrics();
    assert_eq!(
        (seen.asked(), seen.outcome(outcome), seen.outcomes(), seen.within("+Inf")),
        (5.0, 5.0, 5.0, 5.0)
    );
    let came = &lab.questions()["outcomes"][0];
    assert_eq!((&came["outcome"], &came["questions"]), (&json!(outcome), &json!(5)), "{came:#}");
    assert_eq!(came["failed"], outcome != "nxdomain", "that there is no such name is an answer");
}

#[test]
fn questions_without_an_answer_are_counted_after_five_seconds() {
    let Some(lab) = Lab::new("dns-never", &DNS) else { return };
    let agent = lab.agent(&["--never"]);
    let quick = Duration::from_millis(50);
    let ask = Ask::new(servers(&["10.96.0.10"])).rounds(7).within(quick);
    assert!(ask.from(&lab.network.pod).unwrap().iter().all(|answer| answer.from.is_none()));
    assert_eq!((lab.metrics().asked(), lab.metrics().outcomes()), (7.0, 0.0), "they wait");
    let waiting = json!({ "asked": 7, "outcomes": [], "p50_us": null, "p99_us": null });
    assert_eq!(lab.questions(), waiting);
    std::thread::sleep(OVER);
    let seen = lab.metrics();
    assert_eq!((seen.asked(), seen.outcome("unanswered"), seen.within("+Inf")), (7.0, 7.0, 0.0));
    // Others take their places: none counts twice.
    drop(agent);
    let _agent = lab.agent(&[]);
    let many = Ask::new(servers(&["10.96.0.10"])).rounds(100).from(&lab.network.pod).unwrap();
    assert!(many.iter().all(|answer| answer.from.is_some()), "{many:?}");
    let seen = lab.metrics();
    assert_eq!((seen.outcome("unanswered"), seen.asked()), (7.0, 107.0));
    assert!(seen.outcomes() > 90.0 && seen.outcomes() <= 107.0, "{}", seen.outcomes());
}

/// As glibc does: the same question from the same socket.
#[test]
fn who_asks_again_has_had_no_answer() {
    let Some(lab) = Lab::new("dns-again", &DNS) else { return };
    let _agent = lab.agent(&["--after-ms", "300"]);
    const TWICE: &str = "import socket,time\n\
        s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(5)\n\
        q=b'\\x12\\x34\\x01\\x00\\x00\\x01'+bytes(6)+b'\\x03app\\x04test\\x00\\x00\\x01\\x00\\x01'\n\
        for i in range(2): s.sendto(q,('10.96.0.10',53));time.sleep(.05)\n\
        s.recv(512);s.recv(512)";
    lab.network.pod.command("python3").args(["-c", TWICE]).user(1000, 1000).run().unwrap();
    let seen = lab.metrics();
    assert_eq!((seen.asked(), seen.outcome("unanswered"), seen.outcome("noerror")), (2.0, 1.0, 1.0));
}

/// Neither what the sidecar asks by itself, nor other packets, nor a workload whose questions are not captured.
#[test]
fn nothing_else_counts() {
    let Some(lab) = Lab::new("dns-else", &[]) else { return };
    let _agent = lab.agent(&[]);
    let to_agent = [AGENT[0].parse::<SocketAddr>().unwrap()];
    Ask::new(to_agent).from(&lab.network.pod).unwrap();
    assert_eq!(lab.metrics().asked(), 0.0, "not captured");

    let Some(lab) = Lab::new("dns-proxy", &DNS) else { return };
    let _agent = lab.agent(&[]);
    let quick = Duration::from_millis(50);
    Ask::new([lab.network.outside4(53)]).within(quick).from_user(&lab.network.pod, PROXY_USER).unwrap();
    assert_eq!(lab.metrics().asked(), 0.0, "the sidecar asks its resolver");
    Ask::new(servers(&["10.96.0.10"])).from(&lab.network.pod).unwrap();
    assert_eq!(lab.metrics().asked(), 1.0);
}

/// The sidecar's agent is quick and one of its resolvers is slow: each is seen by its own address, over both families.
#[rstest]
#[case::unconnected(false)]
#[case::connected(true)]
fn a_slow_resolver_of_the_sidecar_is_told_from_a_quick_one(#[case] is_connected: bool) {
    let Some(lab) = Lab::new("dns-upstream", &DNS) else { return };
    let (slow, quick, v6) = ("10.96.0.20", "10.96.0.21", "fd00:96::20");
    let at = [slow, quick, v6].map(|address| lab.address(address));
    let _slow = lab.resolver(&at[0], &["--after-ms", "150"]);
    let _quick = [lab.resolver(&at[1], &[]), lab.resolver(&at[2], &["--code", "2"])];
    for (address, rounds) in at.iter().zip([8, 6, 5]) {
        let ask = Ask::new([address.parse().unwrap()]).rounds(rounds);
        let ask = if is_connected { ask.connected() } else { ask };
        let answers = ask.from_user(&lab.network.pod, PROXY_USER).unwrap();
        assert!(answers.iter().all(|answer| answer.from == Some(answer.server)), "{answers:?}");
    }
    let seen = lab.metrics();
    assert_eq!(seen.asked(), 0.0, "nobody has asked the agent");
    assert_eq!(seen.resolvers(), [slow, quick, v6].map(String::from).into());
    let of = seen.upstream(slow);
    assert_eq!((of.outcome("noerror"), of.outcomes(), of.within("0.131072")), (8.0, 8.0, 0.0));
    let slow = of.seconds() / 8.0;
    assert!(of.within("+Inf") == 8.0 && slow >= 0.15, "{slow}");
    let of = seen.upstream(quick);
    assert_eq!((of.outcome("noerror"), of.outcomes(), of.within("+Inf")), (6.0, 6.0, 6.0));
    assert!(of.seconds() / 6.0 < slow, "{}", of.seconds());
    let of = seen.upstream(v6);
    assert_eq!((of.outcome("servfail"), of.outcomes(), of.within("+Inf")), (5.0, 5.0, 5.0));
}

/// A question by way of the agent counts twice: where the application asks, and where the agent does.
#[test]
fn what_the_agent_passes_on_is_seen_on_both_sides() {
    let Some(lab) = Lab::new("dns-forward", &DNS) else { return };
    let resolver = "10.96.0.20";
    let at = lab.address(resolver);
    let _resolver = lab.resolver(&at, &["--after-ms", "50", "--code", "3"]);
    let agent = lab.network.pod.lab_agent("dns-forward").unwrap().user(PROXY_USER.0, PROXY_USER.1);
    let agent = agent.args(["--listen", AGENT[0], "--upstream", &at]).spawn().unwrap();
    agent.wait_for("ready").unwrap();
    let ask = Ask::new(servers(&["10.96.0.10"])).rounds(4);
    let answers = ask.from(&lab.network.pod).unwrap();
    assert!(answers.iter().all(|answer| answer.from.is_some()), "{answers:?}");
    let seen = lab.metrics();
    let of = seen.upstream(resolver);
    assert_eq!((seen.outcome("nxdomain"), of.outcome("nxdomain"), of.outcomes()), (4.0, 4.0, 4.0));
    assert!(of.seconds() >= 0.2 && seen.seconds() >= of.seconds(), "{} {}", seen.seconds(), of.seconds());
}

#[test]
fn a_resolver_that_does_not_answer_the_sidecar_is_seen() {
    let Some(lab) = Lab::new("dns-silent", &DNS) else { return };
    let (silent, other) = ("10.96.0.20", "10.96.0.21");
    let at = [silent, other].map(|address| lab.address(address));
    let _resolvers = [lab.resolver(&at[0], &["--never"]), lab.resolver(&at[1], &[])];
    let quick = Duration::from_millis(50);
    let to = |at: &str| Ask::new([at.parse().unwrap()]).rounds(7).within(quick);
    to(&at[0]).from_user(&lab.network.pod, PROXY_USER).unwrap();
    assert_eq!(lab.metrics().upstream(silent).outcomes(), 0.0, "they wait");
    std::thread::sleep(OVER);
    // Some of these take the places of those that nobody waits for any more: none counts twice, and none elsewhere.
    for _ in 0..20 {
        to(&at[1]).from_user(&lab.network.pod, PROXY_USER).unwrap();
    }
    let seen = lab.metrics();
    let of = seen.upstream(silent);
    assert_eq!((of.outcome("unanswered"), of.outcomes(), of.within("+Inf")), (7.0, 7.0, 0.0));
    assert_eq!(seen.upstream(other).outcome("unanswered"), 0.0);
}

#[test]
fn four_resolvers_are_told_apart_and_forgotten_with_the_workload() {
    let Some(mut lab) = Lab::new("dns-many", &DNS) else { return };
    let addresses: Vec<String> = (20..26).map(|last| format!("10.96.0.{last}")).collect();
    let at: Vec<String> = addresses.iter().map(|address| lab.address(address)).collect();
    let _resolvers: Vec<Process> = at.iter().map(|at| lab.resolver(at, &[])).collect();
    let ask = |lab: &Lab, at: &str| {
        let answers = Ask::new([at.parse().unwrap()]).rounds(3).from_user(&lab.network.pod, PROXY_USER);
        assert!(answers.unwrap().iter().all(|answer| answer.from.is_some()));
    };
    at.iter().for_each(|at| ask(&lab, at));
    let seen = lab.metrics();
    let shown: BTreeSet<String> = addresses[..4].iter().cloned().chain(["other".to_owned()]).collect();
    assert_eq!(seen.resolvers(), shown);
    let [first, others] = [&addresses[0], "other"].map(|resolver| seen.upstream(resolver).outcomes());
    assert_eq!((first, others), (3.0, 6.0));

    drop(lab.attached.take());
    let flags = [&DEFAULT_FLAGS[..], &DNS, &["--dual-stack"]].concat();
    lab.attached = Some(Sidestep::attach(&lab.network.pod, &flags).unwrap());
    assert!(!lab.metrics().has_any(), "nobody has asked");
    ask(&lab, &at[5]);
    assert_eq!(lab.metrics().resolvers(), BTreeSet::from([addresses[5].clone()]));
}

/// Neither what an application asks by itself, nor another pod's sidecar, nor one whose pod's questions are not captured.
#[test]
fn no_other_question_to_a_resolver_counts() {
    // Of one server only, and this is another.
    let Some(lab) = Lab::new("dns-app", &["--redirect-dns", "--dns-server", "10.96.0.10"]) else { return };
    let at = lab.address("10.96.0.20");
    let _resolver = lab.resolver(&at, &[]);
    let ask = Ask::new([at.parse().unwrap()]);
    let is_answered =
        |answers: Vec<tests::report::DnsAnswer>| answers.iter().all(|answer| answer.from.is_some());
    assert!(is_answered(ask.from(&lab.network.pod).unwrap()));
    assert_eq!(lab.metrics().resolvers(), BTreeSet::new(), "an application");
    assert!(is_answered(ask.from_user(&lab.network.pod, PROXY_USER).unwrap()));
    assert_eq!(lab.metrics().upstream("10.96.0.20").outcomes(), 1.0);

    let Some(other) = Lab::new("dns-plain", &[]) else { return };
    let at = other.address("10.96.0.20");
    let _resolver = other.resolver(&at, &[]);
    assert!(is_answered(ask.from_user(&other.network.pod, PROXY_USER).unwrap()));
    assert_eq!(other.metrics().resolvers(), BTreeSet::new(), "its questions are not captured");
    assert_eq!(lab.metrics().upstream("10.96.0.20").outcomes(), 1.0, "another pod's");
}
