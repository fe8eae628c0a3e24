//! Where a connection goes, and whom it is said to come from.

use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Ask;

cases! { Base;
    service_by_name: "a service: mutual TLS, the application's peer is 127.0.0.6",
        Ask("client", &["http://server/"]),
        Same(&["200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server"]);
    service_the_other_way: "the server as client: mutual TLS the other way",
        Ask("server", &["http://client/"]),
        Same(&["200 (envoy) client at (pod client):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/client"]);
    service_of_raw_tcp: "TCP, the client or the server speaking first",
        Ask("client", &["tcp://server:9000", "banner://server:9001"]),
        Same(&["server at (pod server):9000, peer 127.0.0.6", "server at (pod server):9001, peer 127.0.0.6"]);
    service_of_grpc: "gRPC",
        Ask("client", &["grpc://server:7070"]),
        Same(&["200 grpc-status 0 message 00 00 00 00 02 08 01"]);
    service_of_udp: "UDP is not captured",
        Ask("client", &["udp://server:5353"]),
        Same(&["server at :5353, peer (pod client)"]);
    service_on_loopback: "a service whose application listens on 127.0.0.1 alone",
        Ask("client", &["http://server:8086/"]),
        Same(&["503 (envoy) upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure"]);
    large_bodies: "1 MiB down, and up",
        Ask("client", &["http://server/big", "upload://server/sum"]),
        Same(&["200 (envoy) 1048576 bytes", "200 (envoy) 1048576"]);
    pod_address: "a pod by its address: passed through, without mutual TLS",
        Ask("client", &["http://{pod server}:8080/", "tcp://{pod server}:9000"]),
        Same(&["200 (envoy) server at (pod server):8080, peer 127.0.0.6", "server at (pod server):9000, peer 127.0.0.6"]);
    undeclared_port: "a port of no Service",
        Ask("client", &["http://{pod server}:8099/"]),
        Same(&["200 (istio-envoy) server at (pod server):8099, peer 127.0.0.6"]);
    closed_port: "a port nobody listens on: the sidecar accepts, then closes",
        Ask("client", &["open://{pod server}:9999", "tcp://{pod server}:9999"]),
        Same(&["connected", "connection closed"]);
    headless_service: "a headless service",
        Ask("client", &["http://headless:8080/", "tcp://headless:9000"]),
        Same(&["200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server", "server at (pod server):9000, peer 127.0.0.6"]);
    itself_by_service: "itself, through its service: out by one listener, in by the other",
        Ask("server", &["http://{service server}/", "tcp://{service server}:9000"]),
        Same(&["200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server", "server at (pod server):9000, peer 127.0.0.6"]);
    itself_by_address: "itself, by its address, a headless service and loopback: the sidecar is not asked",
        Ask("server", &["http://{pod server}:8080/", "tcp://{pod server}:9000", "http://headless:8080/", "http://127.0.0.1:8086/"]),
        Same(&[
            "200 (no proxy) server at (pod server):8080, peer (pod server)", "server at (pod server):9000, peer (pod server)",
            "200 (no proxy) server at (pod server):8080, peer (pod server)", "200 (no proxy) server at 127.0.0.1:8086, peer 127.0.0.1",
        ]);
    outside: "out of the mesh and the cluster; the source is the pod's address",
        Ask("client", &["http://{the outside}:8083/", "http://{the outside}:8000/", "tcp://{the outside}:9000", "tcp://{the outside}:9999"]),
        Same(&[
            "200 (envoy) outside at (the outside):8083, peer (pod client)", "200 (no proxy) outside at (the outside):8000, peer (pod client)",
            "outside at (the outside):9000, peer (pod client)", "connection closed",
        ]);
    service_without_sidecars: "a service whose pods have no sidecar",
        Ask("client", &["http://plain-server.plain/", "tcp://plain-server.plain:9000", "banner://plain-server.plain:9001", "http://{pod plain-server}:8080/"]),
        Same(&[
            "200 (envoy) plain-server at (pod plain-server):8080, peer (pod client)", "plain-server at (pod plain-server):9000, peer (pod client)",
            "plain-server at (pod plain-server):9001, peer (pod client)", "200 (envoy) plain-server at (pod plain-server):8080, peer (pod client)",
        ]);
    from_without_sidecar: "a client without sidecar to a service in the mesh, by name and address",
        Ask("plain/plain-client", &["http://{service server}/", "tcp://{service server}:9000", "grpc://{service server}:7070", "http://{pod server}:8080/", "http://{pod server}:8099/"]),
        Same(&[
            "200 (istio-envoy) server at (pod server):8080, peer 127.0.0.6", "server at (pod server):9000, peer 127.0.0.6",
            "200 grpc-status 0 message 00 00 00 00 02 08 01", "200 (istio-envoy) server at (pod server):8080, peer 127.0.0.6",
            "200 (istio-envoy) server at (pod server):8099, peer 127.0.0.6",
        ]);
    from_without_sidecar_server_first: "the same where the server speaks first: the sidecar waits to see whether it is TLS",
        Ask("plain/plain-client", &["banner://{service server}:9001"]),
        Same(&["no answer"]);
    sidecar_ports: "the sidecar's own ports from another pod: health is left alone, its listeners lead nowhere",
        Ask("plain/plain-client", &["http://{pod server}:15021/healthz/ready", "tcp://{pod server}:15006", "tcp://{pod server}:15001"]),
        Same(&["200 (envoy)", "connection closed", "connection closed"]);
    names: "names, by the pod's resolver, UDP and TCP, without DNS capture",
        Ask("client", &["name://server", "dns://10.96.0.10/kubernetes.default.svc.cluster.local", "dnstcp://10.96.0.10/kubernetes.default.svc.cluster.local"]),
        Same(&["(service server)", "(service kubernetes)", "(service kubernetes)"]);
}
