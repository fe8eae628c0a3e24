//! Which of Istio's tests this cluster can run, which not and why, and the differences that are known.

/// In the order of the files: what touches capture, then what else there is.
pub(super) const RUN: &[&str] = &[
    "TestTraffic",
    "TestTproxy",
    "TestTcpProbe",
    "TestGRPCProbe",
    "TestDNSAutoAllocation",
    "TestXfccHeaders",
    "TestProxyHeaders",
    "TestMirroring",
    "TestMirroringExternalService",
    "TestLabelChanges",
    "TestLocality",
    "TestZoneAwareLoadBalancer",
    "TestPreserveHTTPHeaderCase",
    "TestPreserveHTTPHeaderCaseConfiguration",
    "TestTunnelingOutboundTraffic",
    "TestGateway",
    "TestGatewayReadinessProbes",
    "TestGatewayMetricsEndpoints",
    "TestGatewayConformance",
    "TestHTTPRouteAndGRPCRouteCoexistence",
    "TestIngress",
    "TestCustomGateway",
    "TestXFFGateway",
    "TestProxyProtocolTCPGateway",
    "TestAuthZCheck",
    "TestDescribe",
    "TestProxyConfig",
    "TestProxyStatus",
    "TestVersion",
    "TestXdsVersion",
    "TestUserNamespace",
    "TestKubeInject",
    "TestWebhook",
    "TestValidation",
    "TestEnsureNoMissingCRDs",
];

/// Test, and what is missing.
#[allow(dead_code)]
pub(super) const NOT_RUN: &[(&str, &str)] =
    &[("TestCNIRaceRepair", "it deletes istio-cni's DaemonSet, and waits for istio-cni to repair the pods")];

/// Cases that pass with iptables and not with sidestep, and why: what a name begins with.
const KNOWN: &[(&str, &str)] = &[];

/// The tests of the catalogue, as `go test -run` wants them.
pub(super) fn regex() -> String {
    format!("^({})$", RUN.join("|"))
}

/// Why a case may end differently.
pub(super) fn reason(case: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(begin, _)| case.starts_with(begin)).map(|(_, reason)| *reason)
}
