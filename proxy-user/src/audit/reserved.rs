//! Ports Istio keeps for the sidecar (istio.io, application requirements).

use proxy_core::config::Ports;

use super::server::Protocol;

/// What Istio uses the port for; None: applications may have it.
pub(super) fn purpose(ports: &Ports, protocol: Protocol, port: u16) -> Option<&'static str> {
    let named = [
        (ports.outbound, "the sidecar's outbound listener"),
        (ports.inbound, "the sidecar's inbound listener"),
        (ports.dns, "the agent's DNS listener"),
        (ports.tunnel, "the HBONE tunnel"),
        (15000, "Envoy's admin interface"),
        (15002, "the check of the redirection"),
        (15004, "the agent's debug interface"),
        (15020, "the agent's health checks and merged metrics"),
        (15021, "the sidecar's readiness"),
        (15090, "Envoy's metrics"),
    ];
    if protocol == Protocol::Udp {
        return named.into_iter().find(|(at, _)| *at == port && *at == ports.dns).map(|(_, purpose)| purpose);
    }
    named.into_iter().find(|(at, _)| *at == port && *at != 0).map(|(_, purpose)| purpose)
}

/// Ports that hand the sidecar over to whoever reaches them.
pub(super) fn is_administrative(port: u16) -> bool {
    [15000, 15004].contains(&port)
}
