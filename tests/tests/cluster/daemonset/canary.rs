//! A canary: by node, by namespace and by label, each is one value of the chart. What is captured and what is not is
//! what `sidestep cluster status` says.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::pods::{Own, Validated, idle_on, tries_of_validation, validated};
use tests::cluster::way::Way;
use tests::cluster::{Cluster, Node};
use tests::wait::until_some;

use super::READY_WITHIN;
use super::installed::{captured_on, of_sidestep, through_kubectl, under_load};

const LOOK_EVERY: Duration = Duration::from_millis(700);
/// kubelet takes a minute or so to bring a ConfigMap.
const KNOWN_WITHIN: Duration = Duration::from_secs(180);
const LABEL: &str = "canary";

/// Installed on one node alone, where the others' pods keep istio-init; then on all.
#[test]
fn by_node() {
    under_load(|cluster, installed| {
        installed.remove()?;
        let node = &cluster.nodes[1];
        let labels = Labels(cluster);
        labels.add(node)?;
        installed.install(&["--set", "nodeSelector.canary=yes"])?;
        installed.rolled_out()?;
        let told = through_kubectl(cluster, "status")?;
        ensure!(told.well && told.nodes() == [node.name.as_str()], "{:?}: {}", told.nodes(), told.said);
        ensure!(!of_sidestep(std::slice::from_ref(node))?.is_empty(), "nothing is on {}", node.name);
        let others: Vec<Node> =
            cluster.nodes.iter().filter(|other| other.name != node.name).cloned().collect();
        ensure!(of_sidestep(&others)?.is_empty(), "on other nodes: {:?}", of_sidestep(&others)?);

        let canary = Own::create(cluster, Way::Sidestep.namespace(), &[idle_on(node, "canary")])?;
        let pods: Vec<Value> =
            cluster.nodes.iter().map(|node| idle_on(node, &format!("usual-{}", node.name))).collect();
        let usual = Own::create(cluster, Way::Iptables.namespace(), &pods)?;
        canary.work(READY_WITHIN)?;
        usual.work(READY_WITHIN)?;
        states(cluster, &canary, "enrolled")?;
        // Its agent knows the one of its node.
        let known = format!("{}/usual-{}", usual.namespace, node.name);
        let states = through_kubectl(cluster, "status")?.states();
        ensure!(states.get(&known).is_some_and(|state| state == "istio_init"), "{known}: {states:?}");
        usual.delete()?;
        canary.delete()?;

        // A node more, by its label, and then all.
        labels.add(&cluster.nodes[0])?;
        installed.rolled_out()?;
        captured_on(cluster, &cluster.nodes[..2], "labelled")?;
        // What --reuse-values keeps cannot be taken out by null.
        installed.helm(&["upgrade", "--reset-then-reuse-values", "--set", "nodeSelector.canary=null"])?;
        installed.rolled_out()?;
        let told = through_kubectl(cluster, "status")?;
        ensure!(told.well && told.nodes().len() == cluster.nodes.len(), "{:?}: {}", told.nodes(), told.said);
        captured_on(cluster, &cluster.nodes, "everywhere")
    });
}

#[test]
fn by_namespace() {
    selected(&Canary {
        select: r#"["by-sidestep/*", "canary/*"]"#,
        of: Group { namespace: "canary", label: None },
        others: Group { namespace: "not-canary", label: None },
        at_first_try: true,
    });
}

#[test]
fn by_label() {
    selected(&Canary {
        select: r#"["by-sidestep/*", "canary=yes"]"#,
        of: Group { namespace: "canary-by-label", label: Some("yes") },
        others: Group { namespace: "canary-by-label", label: None },
        // Nobody knows a pod's labels at its ADD (docs/agent.md).
        at_first_try: false,
    });
}

struct Canary {
    /// The pods under load are among those it means.
    select: &'static str,
    of: Group,
    others: Group,
    at_first_try: bool,
}

/// Pods, one on each node.
#[derive(Clone, Copy)]
struct Group {
    namespace: &'static str,
    label: Option<&'static str>,
}

impl Group {
    fn create<'a>(&self, cluster: &'a Cluster, name: &str) -> Result<Own<'a>> {
        let pod = |node: &Node| {
            let mut pod = idle_on(node, &format!("{name}-{}", node.name));
            if let Some(value) = self.label {
                pod["metadata"]["labels"][LABEL] = json!(value);
            }
            pod
        };
        Own::create(cluster, self.namespace, &cluster.nodes.iter().map(pod).collect::<Vec<_>>())
    }
}

/// What starts is captured if it is selected, else it waits until all are. What ran stays captured.
fn selected(canary: &Canary) {
    under_load(|cluster, installed| {
        let _namespaces = Namespaces::create(cluster, &[canary.of.namespace, canary.others.namespace])?;
        let ran = canary.others.create(cluster, "ran")?;
        ran.ready(READY_WITHIN)?;
        states(cluster, &ran, "enrolled")?;
        installed.set(&format!("select={}", canary.select))?;
        until("the agents have read it", KNOWN_WITHIN, || {
            let kept = through_kubectl(cluster, "status")?.kept();
            let all = ran.names.iter().all(|name| kept.contains(&format!("{}/{name}", ran.namespace)));
            Ok(all.then_some(()))
        })?;
        let of = canary.of.create(cluster, "chosen")?;
        let others = canary.others.create(cluster, "waits")?;
        for pod in of.ready(READY_WITHIN)? {
            let tried = validated(&pod);
            ensure!(!canary.at_first_try || tried == Validated::AtTry(1), "istio-validation: {tried:?}");
        }
        states(cluster, &of, "enrolled")?;
        ask(cluster, &of)?;
        until("the others' istio-validation fails", READY_WITHIN, || {
            Ok(others.get()?.iter().all(|pod| tries_of_validation(pod) > 1).then_some(()))
        })?;
        states(cluster, &others, "not_selected")?;
        states(cluster, &ran, "enrolled")?;
        ask(cluster, &ran)?;

        installed.set("select=[]")?;
        others.ready(KNOWN_WITHIN + READY_WITHIN)?;
        for pods in [&of, &others, &ran] {
            until("all are captured", KNOWN_WITHIN, || Ok(states(cluster, pods, "enrolled").ok()))?;
            ask(cluster, pods)?;
        }
        [of, others, ran].into_iter().try_for_each(Own::delete)
    });
}

fn until<T>(what: &str, within: Duration, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_some(LOOK_EVERY, what, within, look)
}

/// The pods are all in this state.
fn states(cluster: &Cluster, pods: &Own<'_>, wanted: &str) -> Result<()> {
    let states = through_kubectl(cluster, "status")?.states();
    for name in &pods.names {
        let of = states.get(&format!("{}/{name}", pods.namespace)).map_or("unknown", String::as_str);
        ensure!(of == wanted, "{}/{name} is {of}, not {wanted}", pods.namespace);
    }
    Ok(())
}

/// The server answers each of them by mutual TLS.
fn ask(cluster: &Cluster, pods: &Own<'_>) -> Result<()> {
    let url = format!("http://server.{}/", Way::Sidestep.namespace());
    for name in &pods.names {
        let place = format!("{}/{name}", pods.namespace);
        let said = cluster.exec(&place, &["/bin/app", "ask", &url])?;
        ensure!(said.starts_with("200") && said.contains("mutual TLS"), "{place} is answered {said}");
    }
    Ok(())
}

/// Namespaces of the mesh, deleted in the end.
struct Namespaces<'a>(&'a Cluster, Vec<&'static str>);

impl<'a> Namespaces<'a> {
    fn create(cluster: &'a Cluster, names: &[&'static str]) -> Result<Self> {
        let (key, value) = Way::Sidestep.label();
        let made = Self(cluster, names.to_vec());
        for name in names {
            let metadata = json!({"name": name, "labels": {key: value}});
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
            cluster.apply("default", &namespace.to_string())?;
        }
        Ok(made)
    }
}

impl Drop for Namespaces<'_> {
    fn drop(&mut self) {
        for name in &self.1 {
            let deleted =
                self.0.kubectl(&["delete", "namespace", "--ignore-not-found", "--wait=false", name]);
            if let Err(error) = deleted {
                eprintln!("left over: {error:#}");
            }
        }
    }
}

/// Of nodes, taken off in the end.
struct Labels<'a>(&'a Cluster);

impl Labels<'_> {
    fn add(&self, node: &Node) -> Result<()> {
        self.0.kubectl(&["label", "node", &node.name, &format!("{LABEL}=yes")]).map(drop)
    }
}

impl Drop for Labels<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.kubectl(&["label", "node", "--all", &format!("{LABEL}-")]) {
            eprintln!("left over: {error:#}");
        }
    }
}
