//! How long pods take to start, by who captures them. Printed, for docs/cluster-tests.md; asserted is that they start.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal::{self, SIGTERM};
use nix::sys::signal::killpg;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::cluster::component::{self, agent_ready};
use tests::cluster::pods::{Own, idle_on};
use tests::cluster::way::Way;
use tests::cluster::world::{PLAIN, PLUGIN};
use tests::cluster::{Cluster, Node, turn};
use tests::requirement::Requirement;

/// How often each, where nobody says.
const TURNS: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(180);
const GONE: Duration = Duration::from_secs(1);

/// Who captures, and where such pods are.
const WAYS: [(&str, &str); 4] = [
    ("nobody, no sidecar", PLAIN),
    ("istio-init", Way::Iptables.namespace()),
    ("istio-iptables in the plugin", PLUGIN),
    ("sidestep", Way::Sidestep.namespace()),
];

/// Where lab-cni is chained; each stamps its ADD.
const PLACES: [&str; 3] = ["bridge", "stand-in", "all"];

fn turns() -> usize {
    std::env::var("SIDESTEP_STARTS").ok().map_or(TURNS, |text| text.parse().unwrap())
}

#[test]
fn starts_of_pods() {
    let Some(world) = turn::alone(Requirement::Cluster) else { return };
    let node = &world.cluster.nodes[0];
    let (mut starts, mut adds) = (BTreeMap::<&str, Vec<f64>>::new(), BTreeMap::<_, Vec<f64>>::new());
    for turn in 0..turns() {
        for (who, namespace) in WAYS {
            let name = format!("start-{turn}");
            let mut pod = idle_on(node, &name);
            if namespace == PLUGIN {
                pod["metadata"]["annotations"] =
                    json!({"lab/mode": "iptables", "sidestep.io/inject": "false"});
            }
            let took = start(&world.cluster, namespace, &pod).unwrap();
            starts.entry(who).or_default().push(took.as_secs_f64());
            let stamps = stamps(node, namespace, &name).unwrap();
            for (between, took) in ["stand-in", "sidestep-cni"].iter().zip(stamps) {
                adds.entry((who, *between)).or_default().push(took);
            }
        }
    }
    for (who, all) in starts {
        println!("start, {who}: {}", summary(all, "s", 2));
    }
    for ((who, plugin), all) in adds {
        println!("ADD of {plugin} with its process, {who}: {}", summary(all, "ms", 1));
    }
    println!("ADD of istio-iptables alone, its process: {}", summary(istio_iptables(node).unwrap(), "ms", 1));
}

/// The injection template of docs/agent.md that leaves istio-validation out, which xtask has given Istio: such a pod is
/// captured as others are, and starts sooner.
#[test]
fn starts_without_validation() {
    let Some(world) = turn::alone(Requirement::AgentProcess) else { return };
    let node = &world.cluster.nodes[0];
    let mut agent = component::stop(node, "sidestep", SIGTERM).unwrap();
    let more = ["--waits-for", "istio-validation", "--waits-for", "istio-proxy"];
    agent.start_instead(&agent.program(), &more).unwrap();
    agent_ready(node).unwrap();
    without_validation(&world.cluster, node).unwrap_or_else(|error| panic!("{error:#}"));
    agent.start().unwrap();
    agent_ready(node).unwrap();
}

fn without_validation(cluster: &Cluster, node: &Node) -> Result<()> {
    let namespace = Way::Sidestep.namespace();
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for turn in 0..turns() {
        with.push(start(cluster, namespace, &idle_on(node, &format!("validated-{turn}")))?.as_secs_f64());
        let mut pod = idle_on(node, &format!("trusting-{turn}"));
        pod["metadata"]["annotations"] = json!({"inject.istio.io/templates": "sidecar,captured"});
        without.push(start(cluster, namespace, &pod)?.as_secs_f64());
    }
    println!("start, sidestep: {}", summary(with, "s", 2));
    println!("start, sidestep without istio-validation: {}", summary(without, "s", 2));
    // Its first instruction calls out: nobody answers but a sidecar.
    let mut pod = idle_on(node, "trusting");
    pod["metadata"]["annotations"] = json!({"inject.istio.io/templates": "sidecar,captured"});
    pod["spec"]["containers"][0]["command"] =
        json!(["/bin/sh", "-c", "/bin/app ask http://server/ > /tmp/first; exec /bin/app pause"]);
    let own = Own::create(cluster, namespace, &[pod])?;
    let ready = own.ready(READY_WITHIN)?;
    let inits = ready[0]["spec"]["initContainers"].to_string();
    ensure!(!inits.contains("istio-validation"), "the template leaves it in: {inits}");
    let first = cluster.exec(&format!("{namespace}/trusting"), &["cat", "/tmp/first"])?;
    ensure!(first.starts_with("200 (envoy)") && first.contains("mutual TLS"), "its first words: {first}");
    own.delete()
}

/// `median (least to most)`.
fn summary(mut all: Vec<f64>, unit: &str, digits: usize) -> String {
    all.sort_by(f64::total_cmp);
    let (least, most) = (all[0], all[all.len() - 1]);
    let median = all[all.len() / 2];
    format!("{median:.digits$} {unit} ({least:.digits$} to {most:.digits$}, {} pods)", all.len())
}

/// From kubectl's start to all containers ready.
fn start(cluster: &Cluster, namespace: &'static str, pod: &Value) -> Result<Duration> {
    let name = pod["metadata"]["name"].as_str().context("a pod without a name")?;
    let mut watch = Watch::start(cluster, namespace, name)?;
    let begun = Instant::now();
    let own = Own::create(cluster, namespace, std::slice::from_ref(pod))?;
    watch.until_ready()?;
    let took = begun.elapsed();
    drop(watch);
    own.delete()?;
    // Its end is work as well, and not the next one's.
    thread::sleep(GONE);
    Ok(took)
}

/// kubectl, which is told of each change of a pod.
struct Watch {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Watch {
    fn start(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self> {
        let label = format!("app={name}");
        let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;
        let words =
            ["cluster", "kubectl", "-n", namespace, "get", "pods", "-w", "-l", &label, "-o", condition];
        let mut command = cluster.command(&words);
        // nsenter forks, and both are to end.
        command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().context("run kubectl")?;
        let lines = BufReader::new(child.stdout.take().context("stdout of kubectl")?).lines();
        // It watches a moment later; a pod that is there by then is told as well.
        thread::sleep(Duration::from_millis(500));
        Ok(Self { child, lines })
    }

    fn until_ready(&mut self) -> Result<()> {
        for line in &mut self.lines {
            if line? == "True" {
                return Ok(());
            }
        }
        bail!("kubectl stopped watching")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Milliseconds between the stamps of a pod's ADD, in the order of the chain.
fn stamps(node: &Node, namespace: &str, name: &str) -> Result<[f64; 2]> {
    let text = node.command(&["cat", "/run/lab-cni.log"]).output().context("read lab-cni's stamps")?.stdout;
    let text = String::from_utf8_lossy(&text);
    let pod = format!("{namespace}/{name}");
    let at = |place: &str| -> Result<f64> {
        let mut lines = text.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        let line = lines.find(|words| words.len() == 3 && words[0] == pod && words[1] == place);
        let line = line.with_context(|| format!("no stamp of {pod} at {place}"))?;
        Ok(line[2].parse::<f64>().context("a stamp")? / 1000.0)
    };
    let [first, second, third] = PLACES.map(at);
    let (first, second, third) = (first?, second?, third?);
    Ok([second - first, third - second])
}

/// Milliseconds, as the stand-in has noted them: `ADD rc 0 0.103 s nsenter … istio-iptables …`.
fn istio_iptables(node: &Node) -> Result<Vec<f64>> {
    let text = node.command(&["cat", "/run/stand-in.log"]).output().context("read the stand-in's log")?;
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let lines = text.lines().filter(|line| line.starts_with("ADD rc 0 ") && line.contains("istio-iptables"));
    let all: Vec<f64> = lines
        .filter_map(|line| line.split(' ').nth(3)?.parse::<f64>().ok())
        .map(|seconds| seconds * 1000.0)
        .collect();
    ensure!(!all.is_empty(), "the stand-in ran no istio-iptables: {text}");
    Ok(all)
}
