//! The same over IPv6: pods and Services have addresses of both families.

use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Ask;

cases! { Base;
    names_of_both_families: "names of a dual-stack service, of one with IPv6 alone, and of a headless one; and asked over IPv6",
        Ask("client", &["name://both", "name://six", "name://headless-both", "dns://[{service kube-dns IPv6}]/outside.test", "dnstcp://[{service kube-dns IPv6}]/outside.test"]),
        Same(&["(service both) (service both IPv6)", "(service six IPv6)", "(pod server) (pod server IPv6)", "(the outside) (the outside IPv6)", "(the outside) (the outside IPv6)"]);
    dual_stack_service_by_name: "a dual-stack service by name, over IPv6: the sidecar goes on to the pod's first address, IPv4",
        Ask("client", &["http6://both/", "tcp6://both:9000", "banner6://both:9001", "grpc6://both:7070"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "server at (pod server):9000, peer 127.0.0.6", "server at (pod server):9001, peer 127.0.0.6",
            "200 grpc-status 0 message 00 00 00 00 02 08 01",
        ]);
    dual_stack_service_by_address: "the same by its IPv6 cluster IP",
        Ask("client", &["http://[{service both IPv6}]/", "tcp://[{service both IPv6}]:9000"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "server at (pod server):9000, peer 127.0.0.6",
        ]);
    ipv6_service: "a service with IPv6 alone: mutual TLS, the application's peer is ::6",
        Ask("client", &["http://six/", "tcp://six:9000", "http://six/big", "upload://six/sum"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "server at [(pod server IPv6)]:9000, peer ::6", "200 (envoy) 1048576 bytes", "200 (envoy) 1048576",
        ]);
    dual_stack_headless_service: "a dual-stack headless service over IPv6: the family asked is kept",
        Ask("client", &["http6://headless-both:8080/", "tcp6://headless-both:9000"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6, mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "server at [(pod server IPv6)]:9000, peer ::6",
        ]);
    udp_over_ipv6: "UDP over IPv6 is not captured",
        Ask("client", &["udp://[{service both IPv6}]:5353"]),
        Same(&["server at :5353, peer (pod client IPv6)"]);
    pod_by_ipv6: "a pod by its IPv6 address: passed through; a port of no Service, and one nobody listens on",
        Ask("client", &["http://[{pod server IPv6}]:8080/", "tcp://[{pod server IPv6}]:9000", "http://[{pod server IPv6}]:8099/", "open://[{pod server IPv6}]:9999", "tcp://[{pod server IPv6}]:9999"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6", "server at [(pod server IPv6)]:9000, peer ::6",
            "200 (istio-envoy) server at [(pod server IPv6)]:8099, peer ::6", "connected", "connection closed",
        ]);
    itself_by_ipv6: "itself over IPv6: through its service, and by its address and loopback, where the sidecar is not asked",
        Ask("server", &["http://[{service six IPv6}]/", "tcp://[{service six IPv6}]:9000", "http://[{pod server IPv6}]:8080/", "tcp://[{pod server IPv6}]:9000", "http://[::1]:8099/"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6, mutual TLS ns/NS/sa/server to ns/NS/sa/server", "server at [(pod server IPv6)]:9000, peer ::6",
            "200 (no proxy) server at [(pod server IPv6)]:8080, peer (pod server IPv6)", "server at [(pod server IPv6)]:9000, peer (pod server IPv6)",
            "200 (no proxy) server at [::1]:8099, peer ::1",
        ]);
    outside_by_ipv6: "out of the mesh and the cluster over IPv6; the source is the pod's address",
        Ask("client", &["http://[{the outside IPv6}]:8083/", "http://[{the outside IPv6}]:8000/", "tcp://[{the outside IPv6}]:9000", "tcp://[{the outside IPv6}]:9999"]),
        Same(&[
            "200 (envoy) outside at [(the outside IPv6)]:8083, peer (pod client IPv6)", "200 (no proxy) outside at [(the outside IPv6)]:8000, peer (pod client IPv6)",
            "outside at [(the outside IPv6)]:9000, peer (pod client IPv6)", "connection closed",
        ]);
    without_sidecars_by_ipv6: "a service whose pods have no sidecar, and such a pod, over IPv6",
        Ask("client", &["http6://plain-both.plain/", "tcp6://plain-both.plain:9000", "http://[{pod plain-server IPv6}]:8080/", "tcp://[{pod plain-server IPv6}]:9000"]),
        Same(&[
            "200 (envoy) plain-server at (pod plain-server):8080, peer (pod client)", "plain-server at (pod plain-server):9000, peer (pod client)",
            "200 (envoy) plain-server at [(pod plain-server IPv6)]:8080, peer (pod client IPv6)", "plain-server at [(pod plain-server IPv6)]:9000, peer (pod client IPv6)",
        ]);
    from_without_sidecar_by_ipv6: "a client without sidecar, over IPv6 to a service in the mesh and a pod",
        Ask("plain/plain-client", &["http://[{service both IPv6}]/", "tcp://[{service both IPv6}]:9000", "grpc://[{service both IPv6}]:7070", "http://[{pod server IPv6}]:8080/", "http://[{pod server IPv6}]:8099/"]),
        Same(&[
            "200 (istio-envoy) server at [(pod server IPv6)]:8080, peer ::6", "server at [(pod server IPv6)]:9000, peer ::6",
            "200 grpc-status 0 message 00 00 00 00 02 08 01", "200 (istio-envoy) server at [(pod server IPv6)]:8080, peer ::6",
            "200 (istio-envoy) server at [(pod server IPv6)]:8099, peer ::6",
        ]);
    sidecar_ports_by_ipv6: "the sidecar's own ports over IPv6",
        Ask("plain/plain-client", &["http://[{pod server IPv6}]:15021/healthz/ready", "tcp://[{pod server IPv6}]:15006", "tcp://[{pod server IPv6}]:15001"]),
        Same(&["200 (envoy)", "connection closed", "connection closed"]);
}
