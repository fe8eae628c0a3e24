//! The Helm chart: what it refuses, what it becomes, and that what it becomes works.

mod manifests;
mod rights;
mod schema;
mod values;

use tests::requirement::{Requirement, met};

/// Everything that can be switched on.
const EVERYTHING: &[&str] = &[
    "--set=leastPrivilege=true,hostPID=true,networkPolicy.enabled=true,podMonitor.enabled=true",
    "--set=dashboard.enabled=true,rules.configMap=true,rules.prometheusRule=true,resourceQuotas.enabled=true",
    "--set=pullPolicy=Always,imagePullSecrets[0].name=pull,env.RUST_LOG=debug,extraCapabilities={CHOWN}",
    "--set=seccompProfile.type=RuntimeDefault,seLinuxOptions.type=spc_t,podLabels.a=b,daemonSetLabels.a=b",
    "--set=podAnnotations.a=b,podMonitor.labels.a=b,rules.labels.a=b,resources.limits.memory=1Gi",
    "--set=podMonitor.convertClassicHistogramsToNHCB=true",
    "--set-json=networkPolicy.from=[{\"namespaceSelector\":{\"matchLabels\":{\"a\":\"b\"}}}]",
    "--set-json=affinity={\"nodeAffinity\":{}}",
];

fn helm_is_there() -> bool {
    met(&[Requirement::Helm])
}
