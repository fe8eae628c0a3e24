//! What Istio's resources ask for.

use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Ask;

cases! { More;
    strict_stateful_set: "a StatefulSet with STRICT PeerAuthentication: each pod by name, and the service",
        Ask("client", &["http://store-0.store:8080/", "http://store-1.store:8080/", "tcp://store-0.store:9000"]),
        Same(&[
            "200 (envoy) store-0 at (pod store-0):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "200 (envoy) store-1 at (pod store-1):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "store-0 at (pod store-0):9000, peer 127.0.0.6",
        ]);
    strict_by_address: "the same by address: HTTP with the address as its host is sent in plain text, and refused; TCP to a port the headless service declares is known",
        Ask("client", &["http://{pod store-0}:8080/", "tcp://{pod store-0}:9000", "tcp://{pod store-0}:9001"]),
        Same(&[
            "503 (envoy) upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "store-0 at (pod store-0):9000, peer 127.0.0.6",
            "connection closed",
        ]);
    strict_from_without_sidecar: "the same from without a sidecar",
        Ask("plain/plain-client", &["http://{pod store-0}:8080/", "tcp://{pod store-1}:9000"]),
        Same(&[
            "connection closed",
            "connection closed",
        ]);
    strict_to_each_other: "its pods to each other and to themselves",
        Ask("store-0", &["http://store-1.store:8080/", "http://store-0.store:8080/", "tcp://store-1.store:9000"]),
        Same(&[
            "200 (envoy) store-1 at (pod store-1):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "200 (no proxy) store-0 at (pod store-0):8080, peer (pod store-0)",
            "store-1 at (pod store-1):9000, peer 127.0.0.6",
        ]);
    ingress_on_loopback: "a Sidecar resource whose ingress goes to 127.0.0.1",
        Ask("client", &["http://ingress:8080/"]),
        Same(&["200 (envoy) ingress at 127.0.0.1:8080, peer 127.0.0.1, mutual TLS ns/NS/sa/client to ns/NS/sa/server"]);
    ingress_on_unix_socket: "and one to a unix socket",
        Ask("client", &["http://ingress:8090/"]),
        Same(&["200 (envoy) ingress at /shared/socket, peer @, mutual TLS ns/NS/sa/client to ns/NS/sa/server"]);
    registry_only: "REGISTRY_ONLY: a ServiceEntry's host, a service, and what is neither",
        Ask("closed", &["http://outside.lab@{the outside}:8001/", "http://server/", "http://{the outside}:8083/", "tcp://{the outside}:9000"]),
        Same(&[
            "200 (envoy) outside at (the outside):8001, peer (pod closed)",
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "502 (envoy)",
            "connection closed",
        ]);
    gateway: "an injected gateway: nobody captures it, and it sends on with mutual TLS",
        Ask("plain/plain-client", &["http://{service gateway}/", "open://{pod gateway}:9999"]),
        Same(&[
            "200 (istio-envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "connection refused",
        ]);
    proxyless_grpc: "proxyless gRPC: nobody captures it",
        Ask("plain/plain-client", &["http://{pod proxyless}:8080/", "open://{pod proxyless}:9999"]),
        Same(&[
            "200 (no proxy) proxyless at (pod proxyless):8080, peer (pod plain-client)",
            "connection refused",
        ]);
    proxyless_grpc_as_client: "and nothing it sends",
        Ask("proxyless", &["http://plain-server.plain/", "http://{the outside}:8083/", "open://{pod plain-server}:9999"]),
        Same(&[
            "200 (no proxy) plain-server at (pod plain-server):8080, peer (pod proxyless)",
            "200 (no proxy) outside at (the outside):8083, peer (pod proxyless)",
            "connection refused",
        ]);
}
