//! What the cases are tried on: the pods of both ways, deployed once for all tests of the process.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::way::Way;
use super::words::Words;
use super::{Cluster, outside, revision};

/// Longest the pods of a wave may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Pods of one way that start together.
const WAVE: usize = 3;
/// The namespace without a mesh.
pub const PLAIN: &str = "plain";
/// The one whose pods the plugin captures with iptables.
pub const PLUGIN: &str = "by-plugin";
const LOOK_EVERY: Duration = Duration::from_millis(700);

/// A part of the manifests of `tests/cluster/mesh`; pods that shall be ready have it as label `part`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Client, server, and what is outside the mesh.
    Base,
    /// What takes pods of its own.
    More,
}

impl Part {
    const fn label(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::More => "more",
        }
    }

    const fn manifests(self) -> &'static str {
        match self {
            Self::Base => include_str!("../../cluster/mesh/base.yaml"),
            Self::More => include_str!("../../cluster/mesh/more.yaml"),
        }
    }
}

/// The deployed pods.
#[derive(Debug)]
pub struct World {
    pub cluster: Cluster,
    words: BTreeMap<&'static str, Words>,
}

impl World {
    /// The pods of `part`, ready. The first caller deploys them, others wait.
    pub fn of(part: Part) -> Result<&'static Self> {
        static BASE: OnceLock<Result<World, String>> = OnceLock::new();
        static MORE: OnceLock<Result<World, String>> = OnceLock::new();
        let (world, deploy): (_, fn() -> Result<Self>) = match part {
            Part::Base => (&BASE, base),
            Part::More => (&MORE, more),
        };
        let mut why = String::new();
        let deployed = world.get_or_init(|| {
            deploy().map_err(|error| {
                why = format!("the pods of part {}: {error:#}", part.label());
                "not deployed, as another test said".to_owned()
            })
        });
        deployed.as_ref().map_err(|seen| if why.is_empty() { anyhow!("{seen}") } else { anyhow!("{why}") })
    }

    /// The names of addresses.
    pub fn words(&self, way: Way) -> &Words {
        &self.words[way.namespace()]
    }

    /// Where a pod is: its own namespace's name, or `plain/POD` as it is.
    pub fn place(&self, way: Way, pod: &str) -> String {
        if pod.starts_with("plain/") { pod.to_owned() } else { format!("{}/{pod}", way.namespace()) }
    }

    fn read(cluster: Cluster) -> Result<Self> {
        let words = Way::ALL.into_iter().map(|way| Ok((way.namespace(), Words::read(&cluster, way)?)));
        let words = words.collect::<Result<_>>()?;
        Ok(Self { cluster, words })
    }
}

fn base() -> Result<World> {
    let cluster = Cluster::of_this_run()?;
    ensure!(
        cluster.dual_stack && cluster.nodes.len() > 1,
        "the cases are for `cargo xtask cluster up --nodes 2 --dual-stack`: {} node(s), dual stack {}",
        cluster.nodes.len(),
        cluster.dual_stack
    );
    let begun = Instant::now();
    outside::serve(&cluster)?;
    revision::install(&cluster, revision::NAME, "").context("install Istio's second revision")?;
    println!("istio-init's control plane is up after {:.0} s", begun.elapsed().as_secs_f64());
    let (key, value) = Way::Sidestep.label();
    let mut namespaces = vec![json!({"name": PLAIN}), json!({"name": PLUGIN, "labels": {key: value}})];
    for way in Way::ALL {
        let (key, value) = way.label();
        namespaces.push(json!({"name": way.namespace(), "labels": {key: value}}));
    }
    let items = namespaces
        .into_iter()
        .map(|metadata| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>()});
    cluster.apply("default", &list.to_string())?;
    cluster.create(PLAIN, include_str!("../../cluster/mesh/plain.yaml"))?;
    cluster.create(PLUGIN, include_str!("../../cluster/mesh/plugin.yaml"))?;
    deploy(&cluster, Part::Base)?;
    World::read(cluster)
}

fn more() -> Result<World> {
    let cluster = World::of(Part::Base)?.cluster.clone();
    deploy(&cluster, Part::More)?;
    World::read(cluster)
}

/// A few pods at a time: dozens of sidecars that start at once on two processors miss every deadline there is.
fn deploy(cluster: &Cluster, part: Part) -> Result<()> {
    let begun = Instant::now();
    let (pods, others): (Vec<&str>, Vec<&str>) =
        part.manifests().split("\n---\n").partition(|document| document.contains("containers:"));
    let mut waves = vec![others];
    waves.extend(pods.chunks(WAVE).map(<[_]>::to_vec));
    for wave in waves {
        let documents = wave.join("\n---\n");
        for way in Way::ALL {
            // A gateway is chosen by label in every namespace.
            cluster.create(way.namespace(), &documents.replace("NAMESPACE", way.namespace()))?;
        }
        ready(cluster, part)?;
    }
    println!("the pods of part {} are ready after {:.0} s", part.label(), begun.elapsed().as_secs_f64());
    Ok(())
}

/// Waits for the pods of `part` there are.
fn ready(cluster: &Cluster, part: Part) -> Result<()> {
    let begun = Instant::now();
    let selector = format!("part={}", part.label());
    loop {
        let pods = cluster.json(&["get", "pods", "-A", "-l", &selector])?;
        let pods = pods["items"].as_array().context("no items")?;
        let waiting: Vec<&Value> = pods.iter().filter(|pod| !is_ready(pod)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > READY_WITHIN {
            let names: Vec<String> = waiting.iter().map(|pod| describe(pod)).collect();
            bail!("not ready after {READY_WITHIN:?}: {}", names.join("; "));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A pod's condition Ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn describe(pod: &Value) -> String {
    let of = |list: &str| -> Vec<String> {
        let containers = pod["status"][list].as_array().into_iter().flatten();
        containers
            .filter(|container| container["ready"] != true)
            .map(|container| {
                format!("{} {}", container["name"].as_str().unwrap_or_default(), container["state"])
            })
            .collect()
    };
    let name = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
    let waiting = [of("initContainerStatuses"), of("containerStatuses")].concat().join(", ");
    format!("{}/{} ({waiting})", name("namespace"), name("name"))
}
