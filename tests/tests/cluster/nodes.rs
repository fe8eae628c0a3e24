//! From node to node: client, server and the pods without sidecar are on the first, `far` is on the second.

use anyhow::{Context as _, Result};
use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::{Ask, Do};
use tests::cluster::way::Way;
use tests::cluster::world::World;

cases! { Base;
    places: "where the pods of the other cases are",
        Do(nodes_of_pods),
        Same(&["client on node1", "server on node1", "far on node2", "plain/plain-client on node1", "plain/plain-server on node1"]);
    service_on_another_node: "a service on another node: mutual TLS",
        Ask("client", &["http://far/", "tcp://far:9000", "banner://far:9001", "grpc://far:7070"]),
        Same(&[
            "200 (envoy) far at (pod far):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "far at (pod far):9000, peer 127.0.0.6", "far at (pod far):9001, peer 127.0.0.6",
            "200 grpc-status 0 message 00 00 00 00 02 08 01",
        ]);
    service_from_another_node: "and the other way",
        Ask("far", &["http://server/", "tcp://server:9000", "banner://server:9001"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "server at (pod server):9000, peer 127.0.0.6", "server at (pod server):9001, peer 127.0.0.6",
        ]);
    large_bodies_between_nodes: "1 MiB down, and up, either way",
        Ask("client", &["http://far/big", "upload://far/sum"]),
        Same(&["200 (envoy) 1048576 bytes", "200 (envoy) 1048576"]);
    pod_address_on_another_node: "a pod of another node by its addresses: passed through, without mutual TLS",
        Ask("client", &["http://{pod far}:8080/", "tcp://{pod far}:9000", "http://[{pod far IPv6}]:8080/", "tcp://[{pod far IPv6}]:9000", "tcp://{pod far}:9999"]),
        Same(&[
            "200 (envoy) far at (pod far):8080, peer 127.0.0.6", "far at (pod far):9000, peer 127.0.0.6",
            "200 (envoy) far at [(pod far IPv6)]:8080, peer ::6", "far at [(pod far IPv6)]:9000, peer ::6",
            "connection closed",
        ]);
    headless_service_on_another_node: "a headless service",
        Ask("client", &["http://far-headless:8080/", "tcp://far-headless:9000"]),
        Same(&["200 (envoy) far at (pod far):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server", "far at (pod far):9000, peer 127.0.0.6"]);
    udp_between_nodes: "UDP is not captured",
        Ask("client", &["udp://far:5353"]),
        Same(&["far at :5353, peer (pod client)"]);
    itself_on_another_node: "itself, through its service and by its addresses",
        Ask("far", &["http://{service far}/", "tcp://{service far}:9000", "http://{pod far}:8080/", "http://[{pod far IPv6}]:8080/"]),
        Same(&[
            "200 (envoy) far at (pod far):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server", "far at (pod far):9000, peer 127.0.0.6",
            "200 (no proxy) far at (pod far):8080, peer (pod far)", "200 (no proxy) far at [(pod far IPv6)]:8080, peer (pod far IPv6)",
        ]);
    without_sidecar_on_another_node: "a service on another node whose pods have no sidecar, and out of the cluster",
        Ask("far", &["http://plain-server.plain/", "tcp://plain-server.plain:9000", "http://{pod plain-server}:8080/", "http://[{pod plain-server IPv6}]:8080/", "tcp://{the outside}:9000"]),
        Same(&[
            "200 (envoy) plain-server at (pod plain-server):8080, peer (pod far)", "plain-server at (pod plain-server):9000, peer (pod far)",
            "200 (envoy) plain-server at (pod plain-server):8080, peer (pod far)", "200 (envoy) plain-server at [(pod plain-server IPv6)]:8080, peer (pod far IPv6)",
            "outside at (the outside):9000, peer (pod far)",
        ]);
    from_without_sidecar_on_another_node: "a client without sidecar, by service and address",
        Ask("plain/plain-client", &["http://{service far}/", "tcp://{service far}:9000", "http://{pod far}:8080/", "http://[{service far IPv6}]/", "http://[{pod far IPv6}]:8080/"]),
        Same(&[
            "200 (istio-envoy) far at (pod far):8080, peer 127.0.0.6", "far at (pod far):9000, peer 127.0.0.6",
            "200 (istio-envoy) far at (pod far):8080, peer 127.0.0.6",
            "200 (istio-envoy) far at [(pod far IPv6)]:8080, peer ::6", "200 (istio-envoy) far at [(pod far IPv6)]:8080, peer ::6",
        ]);
}

fn nodes_of_pods(world: &World, way: Way) -> Result<Vec<String>> {
    ["client", "server", "far", "plain/plain-client", "plain/plain-server"]
        .into_iter()
        .map(|pod| {
            let place = world.place(way, pod);
            let (namespace, name) = place.split_once('/').context("a place without a namespace")?;
            let found = world.cluster.json(&["-n", namespace, "get", "pod", name])?;
            Ok(format!("{pod} on {}", found["spec"]["nodeName"].as_str().unwrap_or_default()))
        })
        .collect()
}
