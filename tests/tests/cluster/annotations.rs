//! What pods ask for by annotation.

use tests::cluster::case::Answer::Same;
use tests::cluster::case::How::Ask;

cases! { More;
    tproxy: "interceptionMode TPROXY: the application sees the client's address",
        Ask("client", &["http://tproxy/", "tcp://tproxy:9000", "http://{pod tproxy}:8080/"]),
        Same(&[
            "200 (envoy) tproxy at (pod tproxy):8080, peer (pod client), mutual TLS ns/NS/sa/client to ns/NS/sa/server",
            "tproxy at (pod tproxy):9000, peer (pod client)",
            "200 (envoy) tproxy at (pod tproxy):8080, peer (pod client)",
        ]);
    tproxy_from_without_sidecar: "the same from a pod without sidecar",
        Ask("plain/plain-client", &["http://{service tproxy}/", "tcp://{service tproxy}:9000"]),
        Same(&[
            "200 (istio-envoy) tproxy at (pod tproxy):8080, peer (pod plain-client)",
            "tproxy at (pod tproxy):9000, peer (pod plain-client)",
        ]);
    tproxy_as_client: "the pod in TPROXY mode as client, and to itself",
        Ask("tproxy", &["http://server/", "tcp://server:9000", "http://{service tproxy}/", "http://{pod tproxy}:8080/", "tcp://{the outside}:9000"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "server at (pod server):9000, peer 127.0.0.6",
            "200 (envoy) tproxy at (pod tproxy):8080, peer (pod tproxy), mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "200 (no proxy) tproxy at (pod tproxy):8080, peer (pod tproxy)",
            "outside at (the outside):9000, peer (pod tproxy)",
        ]);
    tproxy_over_ipv6: "the same over IPv6, to the pod's address",
        Ask("client", &["http://[{pod tproxy IPv6}]:8080/", "tcp://[{pod tproxy IPv6}]:9000"]),
        Same(&[
            "200 (envoy) tproxy at [(pod tproxy IPv6)]:8080, peer (pod client IPv6)",
            "tproxy at [(pod tproxy IPv6)]:9000, peer (pod client IPv6)",
        ]);
    tproxy_over_ipv6_from_without_sidecar: "and from a pod without sidecar",
        Ask("plain/plain-client", &["http://[{pod tproxy IPv6}]:8080/", "tcp://[{pod tproxy IPv6}]:9000"]),
        Same(&[
            "200 (istio-envoy) tproxy at [(pod tproxy IPv6)]:8080, peer (pod plain-client IPv6)",
            "tproxy at [(pod tproxy IPv6)]:9000, peer (pod plain-client IPv6)",
        ]);
    tproxy_as_client_over_ipv6: "the pod in TPROXY mode as client over IPv6, and to itself",
        Ask("tproxy", &["http://six/", "tcp://six:9000", "http://[{pod tproxy IPv6}]:8080/", "tcp://[{the outside IPv6}]:9000"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "server at [(pod server IPv6)]:9000, peer ::6",
            "200 (no proxy) tproxy at [(pod tproxy IPv6)]:8080, peer (pod tproxy IPv6)",
            "outside at [(the outside IPv6)]:9000, peer (pod tproxy IPv6)",
        ]);
    excluded_inbound: "excludeInboundPorts 8082: the application sees the client itself there",
        Ask("plain/plain-client", &["http://{pod excluded}:8080/", "http://{pod excluded}:8082/"]),
        Same(&[
            "200 (istio-envoy) excluded at (pod excluded):8080, peer 127.0.0.6",
            "200 (no proxy) excluded at (pod excluded):8082, peer (pod plain-client)",
        ]);
    excluded_outbound: "excludeOutboundPorts 8083, excludeOutboundIPRanges with the outside's address: not by the sidecar",
        Ask("excluded", &["http://plain-server.plain/", "http://plain-server.plain:8083/", "http://{the outside}:8083/", "http://{the outside}:8000/"]),
        Same(&[
            "200 (envoy) plain-server at (pod plain-server):8080, peer (pod excluded)",
            "200 (no proxy) plain-server at (pod plain-server):8083, peer (pod excluded)",
            "200 (no proxy) outside at (the outside):8083, peer (pod excluded)",
            "200 (no proxy) outside at (the outside):8000, peer (pod excluded)",
        ]);
    excluded_over_ipv6: "the same over IPv6",
        Ask("plain/plain-client", &["http://[{pod excluded IPv6}]:8080/", "http://[{pod excluded IPv6}]:8082/"]),
        Same(&[
            "200 (istio-envoy) excluded at [(pod excluded IPv6)]:8080, peer ::6",
            "200 (no proxy) excluded at [(pod excluded IPv6)]:8082, peer (pod plain-client IPv6)",
        ]);
    excluded_outbound_over_ipv6: "and outbound: the port of a pod, and the outside's range",
        Ask("excluded", &["http://[{pod plain-server IPv6}]:8080/", "http://[{pod plain-server IPv6}]:8083/", "http://[{the outside IPv6}]:8000/"]),
        Same(&[
            "200 (envoy) plain-server at [(pod plain-server IPv6)]:8080, peer (pod excluded IPv6)",
            "200 (no proxy) plain-server at [(pod plain-server IPv6)]:8083, peer (pod excluded IPv6)",
            "200 (no proxy) outside at [(the outside IPv6)]:8000, peer (pod excluded IPv6)",
        ]);
    included_inbound: "includeInboundPorts 8080: the others are left alone",
        Ask("plain/plain-client", &["http://{pod included}:8080/", "http://{pod included}:8082/"]),
        Same(&[
            "200 (istio-envoy) included at (pod included):8080, peer 127.0.0.6",
            "200 (no proxy) included at (pod included):8082, peer (pod plain-client)",
        ]);
    included_outbound: "includeOutboundIPRanges with the services', includeOutboundPorts 8083: nothing else by the sidecar",
        Ask("included", &["http://server/", "http://{pod server}:8080/", "http://{pod plain-server}:8083/", "http://{the outside}:8083/", "tcp://{the outside}:9999"]),
        Same(&[
            "200 (envoy) server at (pod server):8080, peer 127.0.0.6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "200 (istio-envoy) server at (pod server):8080, peer 127.0.0.6",
            "200 (envoy) plain-server at (pod plain-server):8083, peer (pod included)",
            "200 (envoy) outside at (the outside):8083, peer (pod included)",
            "connection refused",
        ]);
    included_over_ipv6: "the same over IPv6: the services' range, a port, and what is neither",
        Ask("included", &["http://[{service six IPv6}]/", "http://[{pod server IPv6}]:8080/", "http://[{pod plain-server IPv6}]:8083/", "tcp://[{the outside IPv6}]:9999"]),
        Same(&[
            "200 (envoy) server at [(pod server IPv6)]:8080, peer ::6, mutual TLS ns/NS/sa/server to ns/NS/sa/server",
            "200 (istio-envoy) server at [(pod server IPv6)]:8080, peer ::6",
            "200 (envoy) plain-server at [(pod plain-server IPv6)]:8083, peer (pod included IPv6)",
            "connection refused",
        ]);
    dns_capture: "ISTIO_META_DNS_CAPTURE: the agent knows the name, over UDP and TCP, and what it does not know it asks",
        Ask("dns", &["name://only.in.istio", "http://only.in.istio/", "dns://10.96.0.10/only.in.istio", "dnstcp://10.96.0.10/only.in.istio", "name://server", "name://not.there.cluster.local"]),
        Same(&[
            "240.240.1.1",
            "200 (envoy) outside at (the outside):8083, peer (pod dns)",
            "240.240.1.1",
            "240.240.1.1",
            "(service server)",
            "no such name",
        ]);
    dns_capture_of_both_families: "A and AAAA of a name with addresses of both families, asked over either, and of services",
        Ask("dns", &["name://both.in.istio", "http6://both.in.istio/", "dns://[{service kube-dns IPv6}]/both.in.istio", "dnstcp://[{service kube-dns IPv6}]/both.in.istio", "name://both", "name://six"]),
        Same(&[
            "240.240.1.2 fd00:240::2",
            "200 (envoy) outside at [(the outside IPv6)]:8083, peer (pod dns IPv6)",
            "240.240.1.2 fd00:240::2",
            "240.240.1.2 fd00:240::2",
            "(service both) (service both IPv6)",
            "(service six IPv6)",
        ]);
    no_dns_capture: "without it the name is nobody's",
        Ask("client", &["name://only.in.istio"]),
        Same(&["name not resolved"]);
}
