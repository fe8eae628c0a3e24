//! Envoy's bootstrap as Istio shapes it: virtualOutbound on 15001, virtualInbound on 15006, their clusters.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::PROXY_USER;

/// Istio's default mark.
pub const TPROXY_MARK: u32 = 1337;

/// Where the inbound listener sends a connection: what changed in Istio 1.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Forward {
    /// Istio <= 1.9: a declared port goes to 127.0.0.1:port.
    Localhost,
    /// Istio >= 1.10: the original destination, from 127.0.0.6 (::6).
    Passthrough,
}

/// What the filter chains speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Http,
}

/// A sidecar's configuration.
#[derive(Clone, Debug)]
pub struct SidecarConfig {
    pub forward: Forward,
    /// Ports a Service declares. Under [`Forward::Localhost`] only these go to localhost.
    pub declared_ports: Vec<u16>,
    pub protocol: Protocol,
    /// Worker threads, each with its own listening sockets.
    pub concurrency: u32,
    /// Also listen on `[::]`.
    pub ipv6: bool,
    /// TPROXY mode: transparent listeners, inbound connections forwarded from the client's address.
    pub transparent: bool,
}

impl SidecarConfig {
    /// TCP, two workers, IPv4 and IPv6.
    pub fn new(forward: Forward, declared_ports: &[u16]) -> Self {
        let declared_ports = declared_ports.to_vec();
        Self {
            forward,
            declared_ports,
            protocol: Protocol::Tcp,
            concurrency: 2,
            ipv6: true,
            transparent: false,
        }
    }

    /// As Istio configures it for interceptionMode TPROXY.
    pub fn transparent(mut self) -> Self {
        self.transparent = true;
        self
    }

    /// uid and gid it runs as: a transparent socket needs CAP_NET_ADMIN.
    pub fn user(&self) -> (u32, u32) {
        if self.transparent { (0, PROXY_USER.1) } else { PROXY_USER }
    }

    /// With the HTTP connection manager in place of tcp_proxy.
    pub fn http(mut self) -> Self {
        self.protocol = Protocol::Http;
        self
    }

    /// Envoy's bootstrap; Envoy reads JSON where it reads YAML.
    pub fn bootstrap(&self, access_log: &Path) -> Value {
        let mut clusters = vec![
            json!({"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "1s"}),
            original_dst("PassthroughCluster", json!({})),
            original_dst("InboundPassthroughCluster", self.inbound_bind()),
        ];
        for &port in &self.declared_ports {
            clusters.push(self.inbound_cluster(port));
        }
        json!({
            "node": {"id": "sidestep-lab", "cluster": "sidestep-lab"},
            "admin": {"address": socket_address("127.0.0.1", 15000)},
            "static_resources": {
                "listeners": [self.outbound_listener(access_log), self.inbound_listener(access_log)],
                "clusters": clusters,
            },
        })
    }

    fn outbound_listener(&self, log: &Path) -> Value {
        let chains = vec![
            chain("BlackHoleCluster", Some(15001), self.protocol, "outbound", log),
            chain("PassthroughCluster", None, self.protocol, "outbound", log),
        ];
        self.listener("virtualOutbound", "OUTBOUND", 15001, chains)
    }

    fn inbound_listener(&self, log: &Path) -> Value {
        let mut chains = vec![chain("BlackHoleCluster", Some(15006), self.protocol, "inbound", log)];
        for &port in &self.declared_ports {
            chains.push(chain(&inbound_name(port), Some(port), self.protocol, "inbound", log));
        }
        chains.push(chain("InboundPassthroughCluster", None, self.protocol, "inbound", log));
        self.listener("virtualInbound", "INBOUND", 15006, chains)
    }

    fn listener(&self, name: &str, direction: &str, port: u16, chains: Vec<Value>) -> Value {
        let additional = self.ipv6.then(|| json!({"address": socket_address("::", port)}));
        let mut filters = vec![listener_filter("original_dst", "OriginalDst", json!({}))];
        if self.transparent && direction == "INBOUND" {
            filters.push(listener_filter("original_src", "OriginalSrc", json!({"mark": TPROXY_MARK})));
        }
        json!({
            "name": name,
            "traffic_direction": direction,
            "address": socket_address("0.0.0.0", port),
            "additional_addresses": Vec::from_iter(additional),
            "transparent": self.transparent,
            "listener_filters": filters,
            "filter_chains": chains,
        })
    }

    /// A transparent socket is bound by the listener filter.
    fn inbound_bind(&self) -> Value {
        if self.transparent { json!({}) } else { bind_config() }
    }

    fn inbound_cluster(&self, port: u16) -> Value {
        let name = inbound_name(port);
        if self.forward == Forward::Passthrough {
            return original_dst(&name, self.inbound_bind());
        }
        let endpoint = json!({"endpoint": {"address": socket_address("127.0.0.1", port)}});
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "circuit_breakers": no_limits(),
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        })
    }
}

fn listener_filter(name: &str, message: &str, mut config: Value) -> Value {
    let kind = format!("type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{message}");
    config["@type"] = Value::String(kind);
    json!({"name": format!("envoy.filters.listener.{name}"), "typed_config": config})
}

fn inbound_name(port: u16) -> String {
    format!("inbound|{port}||")
}

fn socket_address(address: &str, port: u16) -> Value {
    json!({"socket_address": {"address": address, "port_value": port}})
}

/// The sources by which the redirection recognises the sidecar's own inner connections.
fn bind_config() -> Value {
    json!({
        "source_address": {"address": "127.0.0.6", "port_value": 0},
        "extra_source_addresses": [{"address": {"address": "::6", "port_value": 0}}],
    })
}

fn original_dst(name: &str, bind: Value) -> Value {
    json!({
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "2s",
        "circuit_breakers": no_limits(),
        "upstream_bind_config": if bind == json!({}) { Value::Null } else { bind },
    })
}

/// Envoy's default is 1,024 connections a cluster.
fn no_limits() -> Value {
    let most = u32::MAX;
    json!({"thresholds": [{
        "max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most,
    }]})
}

fn chain(cluster: &str, port: Option<u16>, protocol: Protocol, direction: &str, log: &Path) -> Value {
    let filter = match protocol {
        Protocol::Tcp => json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": cluster,
                "cluster": cluster,
                "access_log": [file_log(direction, log)],
            },
        }),
        Protocol::Http => http_filter(cluster, direction, log),
    };
    json!({
        "filter_chain_match": port.map(|port| json!({"destination_port": port})),
        "filters": [filter],
    })
}

fn http_filter(cluster: &str, direction: &str, log: &Path) -> Value {
    let manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}});
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": format!("type.googleapis.com/{manager}"),
            "stat_prefix": cluster,
            "access_log": [request_log(direction, log)],
            "route_config": {"virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [route]}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
        },
    })
}

/// The fields of [`crate::sidecar::Logged`].
fn file_log(direction: &str, path: &Path) -> Value {
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": path,
            "log_format": {"json_format": {
                "direction": direction,
                "cluster": "%UPSTREAM_CLUSTER_RAW%",
                "downstream_remote": "%DOWNSTREAM_REMOTE_ADDRESS%",
                "downstream_local": "%DOWNSTREAM_LOCAL_ADDRESS%",
                "upstream_host": "%UPSTREAM_HOST%",
                "upstream_local": "%UPSTREAM_LOCAL_ADDRESS%",
                "flags": "%RESPONSE_FLAGS%",
                "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
            }},
        },
    })
}

/// The same of a request, with how long its answer took.
fn request_log(direction: &str, path: &Path) -> Value {
    let mut log = file_log(direction, path);
    let format = &mut log["typed_config"]["log_format"]["json_format"];
    format["downstream_us"] = json!("%COMMON_DURATION(DS_RX_END:DS_TX_BEG:us)%");
    format["upstream_us"] = json!("%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%");
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster_for(forward: Forward) -> Value {
        let config = SidecarConfig::new(forward, &[8080]).bootstrap(Path::new("/log"));
        let clusters = config["static_resources"]["clusters"].as_array().cloned().unwrap_or_default();
        clusters.into_iter().find(|cluster| cluster["name"] == "inbound|8080||").unwrap_or_default()
    }

    #[test]
    fn localhost_is_a_static_endpoint() {
        let cluster = cluster_for(Forward::Localhost);
        assert_eq!(cluster["type"], "STATIC");
        let address = &cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"];
        assert_eq!(address["socket_address"], json!({"address": "127.0.0.1", "port_value": 8080}));
    }

    #[test]
    fn passthrough_binds_the_magic_source() {
        let cluster = cluster_for(Forward::Passthrough);
        assert_eq!(cluster["type"], "ORIGINAL_DST");
        assert_eq!(cluster["upstream_bind_config"]["source_address"]["address"], "127.0.0.6");
    }
}
