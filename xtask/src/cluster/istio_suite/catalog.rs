//! Which of Istio's tests this cluster can run, which not and why, and the differences that are known.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::build::DIRECTORY;

/// In the order of the files: what touches capture, then what else there is.
pub(super) const RUN: &[&str] = &[
    "TestTraffic",
    "TestTproxy",
    "TestCNIRaceRepair",
    "TestTcpProbe",
    "TestGRPCProbe",
    "TestDNSAutoAllocation",
    "TestXfccHeaders",
    "TestProxyHeaders",
    "TestMirroring",
    "TestMirroringExternalService",
    "TestLabelChanges",
    "TestLocality",
    "TestDualStackEndpointLoadBalancer",
    "TestPreserveHTTPHeaderCase",
    "TestPreserveHTTPHeaderCaseConfiguration",
    "TestTunnelingOutboundTraffic",
    "TestGateway",
    "TestGatewayReadinessProbes",
    "TestGatewayMetricsEndpoints",
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
    "TestUserNamespace",
    "TestKubeInject",
    "TestWebhook",
    "TestValidation",
    "TestEnsureNoMissingCRDs",
];

/// Tests, and what is missing.
const NOT_RUN: &[(&[&str], &str)] = &[
    (
        &[
            "TestMultiClusterWithSecrets",
            "TestMultiClusterWithContexts",
            "TestRemoteClusters",
            "TestClusterLocal",
            "TestBadRemoteSecret",
            "TestWorkloadEntryGateway",
        ],
        "a second cluster in the mesh",
    ),
    (
        &["TestVmOSPost", "TestVMRegistrationLifecycle"],
        "images of virtual machines; the second is off in the suite itself",
    ),
    (&["TestRevisionTraffic"], "control planes of other revisions"),
    (
        &["TestMultiVersionRevision", "TestRevisionedUpgrade"],
        "older versions of Istio; they are off in the suite itself",
    ),
    (
        &["TestGatewayConformance"],
        "the images of the Gateway API's conformance tests, and a load balancer for the addresses of gateways",
    ),
    (
        &["TestZoneAwareLoadBalancer"],
        "Istio's Envoy: the test does not understand `/config_dump` of the upstream one",
    ),
    (&["TestXdsVersion"], "a version: Istio's programs are built here without one"),
    (
        &[
            "TestEmptyCluster",
            "TestFileOnly",
            "TestDirectory",
            "TestInvalidFileError",
            "TestJsonInputFile",
            "TestJsonOutput",
            "TestKubeOnly",
            "TestFileAndKubeCombined",
            "TestAllNamespaces",
            "TestTimeout",
            "TestErrorLine",
        ],
        "nothing: they are about what `istioctl analyze` prints, no packet is sent",
    ),
];

pub(super) fn not_run() -> &'static [(&'static [&'static str], &'static str)] {
    NOT_RUN
}

/// Tests of what only a CNI plugin does.
const OF_PLUGINS: &[&str] = &["TestCNIRaceRepair"];

/// Cases that pass with iptables and not with sidestep, and why: what a name begins with.
const KNOWN: &[(&str, &str)] = &[];

/// The tests of the catalogue, as `go test -run` wants them.
pub(super) fn regex() -> String {
    format!("^({})$", RUN.join("|"))
}

/// Whether istio-init is not asked this.
pub(super) fn is_of_plugins(case: &str) -> bool {
    OF_PLUGINS.contains(&case)
}

/// Why a case may end differently.
pub(super) fn reason(case: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(begin, _)| case.starts_with(begin)).map(|(_, reason)| *reason)
}

/// # Errors
/// Where this Istio has a test that the catalogue does not know, or no longer has one that it knows.
pub(super) fn check(module: &Path) -> Result<()> {
    let dir = module.join(DIRECTORY);
    let mut there = BTreeSet::new();
    for file in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?.flatten() {
        if file.file_name().to_string_lossy().ends_with("_test.go") {
            let text =
                fs::read_to_string(file.path()).with_context(|| format!("read {}", file.path().display()))?;
            there.extend(tests(&text).map(str::to_owned));
        }
    }
    let known: BTreeSet<String> = all().map(str::to_owned).collect();
    let differ: Vec<&str> = there.symmetric_difference(&known).map(String::as_str).collect();
    ensure!(
        differ.is_empty(),
        "catalog.rs and the tests of {} differ in {}",
        dir.display(),
        differ.join(", ")
    );
    Ok(())
}

fn all() -> impl Iterator<Item = &'static str> {
    RUN.iter().copied().chain(NOT_RUN.iter().flat_map(|(tests, _)| tests.iter().copied()))
}

fn tests(source: &str) -> impl Iterator<Item = &str> {
    let functions = source.lines().filter_map(|line| line.strip_prefix("func "));
    let tests = functions.filter_map(|rest| rest.split_once("(t *testing.T)").map(|(name, _)| name));
    tests.filter(|name| name.starts_with("Test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_a_source() {
        let source =
            "func TestMain(m *testing.M) {\nfunc TestTproxy(t *testing.T) {\nfunc helper(t *testing.T) {\n";
        assert_eq!(super::tests(source).collect::<Vec<_>>(), ["TestTproxy"]);
    }

    #[test]
    fn a_test_is_listed_once() {
        let names: Vec<&str> = all().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn the_page_says_whether_differences_are_known() {
        let page = include_str!("../../../../docs/istio-suite.md");
        assert_eq!(page.contains("That list is empty."), KNOWN.is_empty());
    }
}
