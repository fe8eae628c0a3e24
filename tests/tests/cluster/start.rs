//! Pods that come up, with the sidecar as an ordinary container as well.

use anyhow::{Context as _, Result};
use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::{Ask, Do};
use tests::cluster::way::Way;
use tests::cluster::world::{PLUGIN, World};

cases! { Base;
    validation: "istio-validation passes (under iptables: istio-iptables run by the plugin), and the pod becomes ready",
        Do(validated),
        Same(&["Validation passed, iptables rules established"]);
    ordinary_container: "nativeSidecar \"false\": the main cases",
        Ask("ordinary", &["http://server/", "tcp://server:9000", "http://{service ordinary}/", "http://{pod ordinary}:8080/", "tcp://{the outside}:9000"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "server at (pod server):9000, peer 127.0.0.6",
            "200 (envoy) ordinary at (pod ordinary):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "200 (no proxy) ordinary at (pod ordinary):8080, peer (pod ordinary)",
            "outside at (the outside):9000, peer (pod ordinary)",
        ]);
    ordinary_container_as_server: "the same as server",
        Ask("client", &["http://ordinary/", "tcp://ordinary:9000", "http://{pod ordinary}:8080/"]),
        Same(&[
            "200 (envoy) ordinary at (pod ordinary):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "ordinary at (pod ordinary):9000, peer 127.0.0.6",
            "200 (envoy) ordinary at (pod ordinary):8080, peer 127.0.0.6",
        ]);
    held_application: "holdApplicationUntilProxyStarts: the sidecar was ready when the application began",
        Do(|world, way| Ok(vec![world.cluster.exec(&world.place(way, "ordinary"), &["cat", "/tmp/first"])?.trim().to_owned()])),
        Same(&["200 (envoy)"]);
}

/// The last words in istio-validation's own log, whose lines are TIME, level and words with tabs between. What the Go
/// runtime's library writes to the other stream may come after them.
fn validated(world: &World, way: Way) -> Result<Vec<String>> {
    let (namespace, pod) = match way {
        Way::Iptables => (PLUGIN, "validated"),
        Way::Sidestep => (way.namespace(), "client"),
    };
    let log = world.cluster.kubectl(&["-n", namespace, "logs", pod, "-c", "istio-validation"])?;
    let words = log.lines().filter_map(|line| line.rsplit_once('\t')).map(|(_, words)| words.to_owned());
    Ok(vec![words.last().with_context(|| format!("no line of its own from istio-validation: {log}"))?])
}
