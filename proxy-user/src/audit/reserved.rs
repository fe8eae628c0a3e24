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

/// Whether Istio keeps the port for the sidecar, as it is installed unless told otherwise: not for an application.
pub(crate) fn is_of_sidecar(port: u16) -> bool {
    const USUAL: Ports = Ports { outbound: 15001, inbound: 15006, tunnel: 15008, dns: 15053 };
    purpose(&USUAL, Protocol::Tcp, port).is_some()
}

/// Ports that hand the sidecar over to whoever reaches them.
pub(super) fn is_administrative(port: u16) -> bool {
    [15000, 15004].contains(&port)
}
