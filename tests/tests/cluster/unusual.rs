//! Pods that are not as most are: init containers that call out before there is a sidecar, static pods, a plugin that
//! guards them and one that gives them a second network, both chained behind the agent's (tests/cluster/cmd/lab-cni).

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Do;
use tests::cluster::pods::{Own, Validated, idle, idle_on, validated};
use tests::cluster::way::Way;
use tests::cluster::world::{PLAIN, PLUGIN, World, is_ready};
use tests::wait::until_some;

const WITHIN: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(700);

cases! { Base;
    early_init_containers: "init containers call out before there is a sidecar (an ordinary one): captured, and refused (under iptables: istio-iptables run by the plugin)",
        Do(early),
        Same(&[
            "first: connection refused, connection refused, connection refused",
            "second: connection refused, connection refused, connection refused",
        ]);
    static_pod: "a static pod that brings a sidecar of its own: both directions (under iptables: istio-iptables run by the plugin)",
        Do(from_a_file),
        Same(&["istio-validation: AtTry(1)", "it asks: answered by sidecar", "it is asked: answered by sidecar"]);
    policy_behind: "a plugin behind the others drops port 9000, to the pod and from it",
        Do(guarded),
        Same(&[
            "200 (envoy) guarded at (pod guarded):8080, peer 127.0.0.6",
            "no answer",
            "200 (no proxy) outside at (the outside):8000, peer (pod guarded)",
            "no answer",
        ]);
    own_users: "a pod with users of its own (`hostUsers: false`), whose sidecar has another uid on the node: both directions",
        Do(with_own_users),
        Same(&[
            "its root is the node's: false",
            "200 (envoy) users at (pod users):8080, peer 127.0.0.6",
            "200 (envoy) server",
        ]);
    second_network: "a plugin behind the others adds an interface: asked there, it asks there, and asks itself",
        Do(doubled),
        Same(&[
            "200 (istio-envoy) doubled at (net1):8080, peer 127.0.0.6",
            "200 (no proxy) node at (bridge):PORT, peer (net1)",
            "200 (no proxy) doubled at (net1):8080, peer (net1)",
        ]);
}

fn until<T>(what: &str, look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    until_some(LOOK_EVERY, what, WITHIN, look)
}

/// Has the plugin in front of the agent's run istio-iptables.
fn by_plugin(way: Way) -> Value {
    match way {
        Way::Iptables => json!({"lab/mode": "iptables", "sidestep.io/inject": "false"}),
        Way::Sidestep => json!({}),
    }
}

fn early(world: &World, way: Way) -> Result<Vec<String>> {
    let urls = ["tcp://{the outside}:9000", "http://plain-server.plain/", "http://{pod plain-server}:8080/"];
    let urls = urls.iter().map(|url| world.words(way).fill(url)).collect::<Result<Vec<_>>>()?;
    let script = format!("/bin/app ask {} > /dev/termination-log; true", urls.join(" "));
    let container = |name: &str| {
        json!({"name": name, "image": "lab/app:1", "imagePullPolicy": "IfNotPresent",
            "command": ["/bin/sh", "-c", script]})
    };
    let mut pod = idle("early");
    pod["spec"]["initContainers"] = json!([container("first"), container("second")]);
    pod["metadata"]["annotations"] = by_plugin(way);
    pod["metadata"]["annotations"]["sidecar.istio.io/nativeSidecar"] = json!("false");
    let namespace = match way {
        Way::Iptables => PLUGIN,
        Way::Sidestep => way.namespace(),
    };
    let own = Own::create(&world.cluster, namespace, &[pod])?;
    let ready = own.ready(WITHIN)?;
    let containers = ready[0]["status"]["initContainerStatuses"].as_array().context("no init containers")?;
    let told = containers.iter().filter_map(|container| {
        let said = container["state"]["terminated"]["message"].as_str()?;
        Some(format!("{}: {}", container["name"].as_str()?, said.trim().replace('\n', ", ")))
    });
    let told = told.collect();
    own.delete()?;
    Ok(told)
}

/// A manifest in kubelet's directory. Its pod ends with it.
struct Manifest(PathBuf);

impl Drop for Manifest {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("left over: {}: {error}", self.0.display());
        }
    }
}

/// Nothing is injected into a static pod, and it has no service account: its sidecar is one that answers by itself.
fn from_a_file(world: &World, way: Way) -> Result<Vec<String>> {
    let node = &world.cluster.nodes[0];
    let name = format!("static-{}", way.namespace());
    // Go listens with MPTCP otherwise, and such a sidecar is not found (docs/limitations.md).
    let godebug = json!({"name": "GODEBUG", "value": "multipathtcp=0"});
    let container = |name: &str, command: Value| {
        json!({"name": name, "image": "lab/app:1", "imagePullPolicy": "IfNotPresent", "command": command,
            "env": [{"name": "NAME", "value": name}, godebug]})
    };
    let mut sidecar =
        container("sidecar", json!(["/bin/app", "observe", "http::15001", "http::15006", "http::15002"]));
    sidecar["securityContext"] = json!({"runAsUser": 1337, "runAsGroup": 1337});
    let validation = json!({
        "name": "istio-validation", "image": "lab/proxyv2:1", "imagePullPolicy": "IfNotPresent",
        "args": ["istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "",
            "-b", "*", "-d", "15090,15021,15020", "--run-validation", "--skip-rule-apply"],
        "securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
    });
    let mut annotations = by_plugin(way);
    annotations["sidecar.istio.io/status"] = json!(r#"{"initContainers":["istio-validation"]}"#);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": PLAIN, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 1, "initContainers": [validation],
            "containers": [container("app", json!(["/bin/app", "observe", "http::8080"])), sidecar],
        },
    });
    let path = node.dir.join("manifests").join(format!("{name}.json"));
    // kubelet passes by what begins with a dot.
    let partial = path.with_file_name(format!(".{name}"));
    fs::write(&partial, pod.to_string()).with_context(|| partial.display().to_string())?;
    fs::rename(&partial, &path).with_context(|| path.display().to_string())?;
    let manifest = Manifest(path);
    let mirror = format!("{name}-{}", node.name);
    let found = || {
        let found = world.cluster.json(&["-n", PLAIN, "get", "pod", "--ignore-not-found", &mirror]);
        // Nothing is printed for what is not there.
        found.ok().filter(|pod| !pod["metadata"].is_null())
    };
    let pod = until("the static pod is ready", || Ok(found().filter(is_ready)))?;
    let tried = validated(&pod);
    ensure!(tried != Validated::NotYet, "ready, and not validated: {}", pod["status"]);
    let address = pod["status"]["podIP"].as_str().context("no address")?;
    let ask = |place: &str, url: String| -> Result<String> {
        let said = world.cluster.exec(place, &["/bin/app", "ask", &url])?;
        let who = said.split_once(") ").and_then(|(_, rest)| rest.split_once(" at "));
        Ok(who.map_or(said.trim().to_owned(), |(who, _)| format!("answered by {who}")))
    };
    let outside = world.words(way).fill("http://{the outside}:8000/")?;
    let told = vec![
        format!("istio-validation: {tried:?}"),
        format!("it asks: {}", ask(&format!("{PLAIN}/{mirror}"), outside)?),
        format!("it is asked: {}", ask("plain/plain-client", format!("http://{address}:8080/"))?),
    ];
    drop(manifest);
    until("the static pod is gone", || Ok(found().is_none().then_some(())))?;
    Ok(told)
}

/// A pod on the first node with an annotation for the plugin behind the others, and its address.
fn annotated<'a>(
    world: &'a World,
    way: Way,
    name: &str,
    key: &str,
    value: &str,
) -> Result<(Own<'a>, String)> {
    let mut pod = idle_on(&world.cluster.nodes[0], name);
    pod["metadata"]["annotations"] = json!({key: value});
    pod["spec"]["containers"][0]["command"] = json!(["/bin/app", "observe", "http::8080", "tcp::9000"]);
    let own = Own::create(&world.cluster, way.namespace(), &[pod])?;
    let ready = own.ready(WITHIN)?;
    let address = ready[0]["status"]["podIP"].as_str().context("no address")?.to_owned();
    Ok((own, address))
}

/// The answer, once it is one.
fn answered(world: &World, place: &str, url: &str) -> Result<String> {
    until(url, || {
        let said = world.cluster.exec(place, &["/bin/app", "ask", url])?;
        Ok(said.starts_with("200").then(|| said.trim().to_owned()))
    })
}

fn guarded(world: &World, way: Way) -> Result<Vec<String>> {
    let (own, address) = annotated(world, way, "guarded", "lab/deny", "9000")?;
    let (client, guarded) = (format!("{}/client", way.namespace()), format!("{}/guarded", way.namespace()));
    let outside =
        |scheme: &str, port: u16| world.words(way).fill(&format!("{scheme}://{{the outside}}:{port}"));
    let mut told = vec![answered(world, &client, &format!("http://{address}:8080/"))?];
    told.push(world.cluster.exec(&client, &["/bin/app", "ask", &format!("tcp://{address}:9000")])?);
    told.push(answered(world, &guarded, &format!("{}/", outside("http", 8000)?))?);
    told.push(world.cluster.exec(&guarded, &["/bin/app", "ask", &outside("tcp", 9000)?])?);
    own.delete()?;
    Ok(told.iter().map(|line| line.trim().replace(&address, "(pod guarded)")).collect())
}

/// istio-init works in the pod's user namespace, which owns its network.
fn with_own_users(world: &World, way: Way) -> Result<Vec<String>> {
    let mut pod = idle_on(&world.cluster.nodes[0], "users");
    pod["spec"]["hostUsers"] = json!(false);
    pod["spec"]["containers"][0]["command"] = json!(["/bin/app", "observe", "http::8080"]);
    let own = Own::create(&world.cluster, way.namespace(), &[pod])?;
    let ready = own.ready(WITHIN)?;
    let address = ready[0]["status"]["podIP"].as_str().context("no address")?;
    let (client, users) = (format!("{}/client", way.namespace()), format!("{}/users", way.namespace()));
    let map = world.cluster.exec(&users, &["cat", "/proc/self/uid_map"])?;
    let on_node = map.split_whitespace().nth(1).context("no map of users")?;
    let inbound =
        answered(world, &client, &format!("http://{address}:8080/"))?.replace(address, "(pod users)");
    let outbound = answered(world, &users, "http://server/")?;
    own.delete()?;
    let outbound = outbound.split_once(" at ").map_or(outbound.as_str(), |(who, _)| who).to_owned();
    Ok(vec![format!("its root is the node's: {}", on_node == "0"), inbound, outbound])
}

/// The node's end of the second networks, which tests/cluster/cmd/lab-cni makes.
const BRIDGE: &str = "10.88.0.1";

fn doubled(world: &World, way: Way) -> Result<Vec<String>> {
    let (second, port) = match way {
        Way::Iptables => ("10.88.0.11", "8088"),
        Way::Sidestep => ("10.88.0.12", "8089"),
    };
    let (own, _) = annotated(world, way, "doubled", "lab/second-network", second)?;
    let node = &world.cluster.nodes[0];
    let listener = format!("http:{BRIDGE}:{port}");
    let mut server = node.command(&["env", "NAME=node", "app", "observe", &listener]);
    // nsenter forks, and both are to end.
    let mut server = server.stdout(Stdio::null()).process_group(0).spawn().context("run app on the node")?;
    let told = asked_there(world, way, second, port);
    killpg(Pid::from_raw(server.id() as i32), Signal::SIGTERM)?;
    server.wait()?;
    own.delete()?;
    let plain =
        |line: String| line.replace(second, "(net1)").replace(BRIDGE, "(bridge)").replace(port, "PORT");
    Ok(told?.into_iter().map(plain).collect())
}

fn asked_there(world: &World, way: Way, second: &str, port: &str) -> Result<Vec<String>> {
    let node = &world.cluster.nodes[0];
    let doubled = format!("{}/doubled", way.namespace());
    let its = format!("http://{second}:8080/");
    let by_node = until("an answer to the node", || {
        let output = node.command(&["app", "ask", &its]).output().context("run app")?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(said.starts_with("200").then_some(said))
    })?;
    let to_node = answered(world, &doubled, &format!("http://{BRIDGE}:{port}/"))?;
    Ok(vec![by_node, to_node, answered(world, &doubled, &its)?])
}
