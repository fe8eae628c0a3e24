//! What the chart becomes: Kubernetes takes it, and it is what the documents say.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use tests::agent::repository;
use tests::helm::{HUB, chart, documents, helm, of_kind, platforms, rendered, template, validate};

use crate::{EVERYTHING, helm_is_there};

/// Each file of a platform, and what else the chart is rendered with.
fn renderings() -> Vec<Vec<String>> {
    let mut all = vec![vec![]];
    all.extend([
        vec!["--set=uninstall.enabled=true".to_owned()],
        EVERYTHING.iter().map(|it| (*it).to_owned()).collect(),
    ]);
    all.extend(platforms().unwrap().iter().map(|path| vec![format!("--values={}", path.display())]));
    all
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn helm_has_nothing_to_say_about_it() {
    if !helm_is_there() {
        return;
    }
    let all = renderings();
    assert_eq!(all.len(), 3 + 11, "{all:?}");
    for flags in all {
        let ended = helm("lint", &[&["--strict", "--set", HUB][..], &strs(&flags)].concat()).unwrap();
        assert_eq!(ended.code, Some(0), "{flags:?}: {ended:?}");
        assert!(!ended.stdout.contains("[WARNING]"), "{flags:?}: {}", ended.stdout);
    }
}

#[test]
fn kubernetes_takes_it() {
    if !helm_is_there() {
        return;
    }
    // All at once: reading the schemas is most of the work.
    let all: Vec<String> = renderings().iter().map(|flags| template(&strs(flags)).unwrap()).collect();
    let ended = validate(&all.join("\n")).unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(format!("{ended:?}").matches("daemonset/sidestep").count(), all.len(), "{ended:?}");
    // It is not silent about a field that there is not.
    let wrong = template(&[]).unwrap().replace("enableServiceLinks:", "enableServiceLink:");
    let ended = validate(&wrong).unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(format!("{ended:?}").contains("enableServiceLink"), "{ended:?}");
}

fn kinds(documents: &[Value]) -> BTreeSet<&str> {
    documents.iter().map(|it| it["kind"].as_str().unwrap()).collect()
}

#[test]
fn it_asks_for_as_little_as_it_says() {
    if !helm_is_there() {
        return;
    }
    let documents = rendered(&[]).unwrap();
    // No role, nothing that watches.
    assert_eq!(kinds(&documents), BTreeSet::from(["ConfigMap", "DaemonSet", "ServiceAccount"]));
    let account = of_kind(&documents, "ServiceAccount").unwrap();
    assert_eq!(account["automountServiceAccountToken"], false);
    let set = &of_kind(&documents, "DaemonSet").unwrap()["spec"];
    assert_eq!(set["updateStrategy"]["rollingUpdate"], json!({ "maxUnavailable": 1 }));
    let pod = &set["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
    assert_eq!(pod["tolerations"], json!([{ "operator": "Exists" }]));
    // Privileged it sees the node's processes anyway.
    assert_eq!(pod["hostPID"], true);
    for absent in ["hostNetwork", "hostIPC", "initContainers"] {
        assert_eq!(pod[absent], Value::Null, "{absent}");
    }
    let container = &pod["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"], json!({ "path": "/readyz", "port": "metrics" }));
    assert_eq!((&container["livenessProbe"], &container["startupProbe"]), (&Value::Null, &Value::Null));
    let args = container["args"].as_array().unwrap();
    // The pod's address has metrics and readiness alone.
    assert!(
        args.contains(&json!("--listen-metrics=0.0.0.0:15095"))
            && args.contains(&json!("--listen=127.0.0.1:15096"))
    );
    assert_eq!(container["ports"], json!([{ "name": "metrics", "containerPort": 15095 }]));
}

/// Where the runtime, the plugin and the agent speak of paths, they mean the same.
#[test]
fn paths_are_the_nodes_inside_too() {
    if !helm_is_there() {
        return;
    }
    for flags in renderings() {
        let documents = rendered(&strs(&flags)).unwrap();
        let pod = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"]["spec"];
        let path_of = |name: &Value| {
            let volume = pod["volumes"].as_array().unwrap().iter().find(|it| it["name"] == *name);
            volume.unwrap_or_else(|| panic!("{flags:?}: no volume {name}"))["hostPath"]["path"].clone()
        };
        for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
            let (name, path) = (&mount["name"], &mount["mountPath"]);
            let is_nodes =
                path_of(name) == *path || path_of(name) == format!("/var{}", path.as_str().unwrap());
            assert!(is_nodes || name == "values", "{flags:?}: {mount}");
        }
    }
}

#[test]
fn dashboard_and_rules_are_those_of_the_repository() {
    if !helm_is_there() {
        return;
    }
    let all = rendered(EVERYTHING).unwrap();
    let file = |name: &str| fs::read_to_string(repository().join("deploy").join(name)).unwrap();
    let data = |name: &str, key: &str| {
        let map = all.iter().find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == name);
        map.unwrap()["data"][key].as_str().unwrap().trim_end().to_owned()
    };
    let (dashboard, rules) = (file("grafana/sidestep.json"), file("prometheus/sidestep.rules.yaml"));
    assert_eq!(data("sidestep-dashboard", "sidestep.json"), dashboard.trim_end());
    assert_eq!(data("sidestep-rules", "sidestep.rules.yaml"), rules.trim_end());
    assert_eq!(of_kind(&all, "PrometheusRule").unwrap()["spec"], documents(&rules).unwrap()[0]);
    let monitor = &of_kind(&all, "PodMonitor").unwrap()["spec"]["podMetricsEndpoints"][0];
    assert_eq!((&monitor["honorLabels"], &monitor["port"]), (&json!(true), &json!("metrics")));
}

/// The image's tag is the chart's version unless it is said.
#[test]
fn its_version_is_the_binarys() {
    if !helm_is_there() {
        return;
    }
    let chart = documents(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap().remove(0);
    let ours = json!(env!("CARGO_PKG_VERSION"));
    assert_eq!((&chart["version"], &chart["appVersion"]), (&ours, &ours));
}

/// For who has no Helm.
#[test]
fn the_daemonset_is_the_charts() {
    const BEGINS: &str = "\
# What `helm template sidestep deploy/helm/sidestep -n sidestep-system` makes of the chart's own values, for who has no
# Helm; the test `chart` keeps it so (SIDESTEP_UPDATE_DOCS=1 writes it). Put the image's name in, see docs/install.md:
#   kubectl create namespace sidestep-system
#   kubectl apply -f deploy/daemonset.yaml
";
    if !helm_is_there() {
        return;
    }
    let path = repository().join("deploy/daemonset.yaml");
    let text = format!("{BEGINS}{}", template(&[]).unwrap());
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "deploy/daemonset.yaml is not the chart's: SIDESTEP_UPDATE_DOCS=1 writes it");
}

#[test]
fn the_notes_name_what_there_is() {
    if !helm_is_there() {
        return;
    }
    let notes = |set: &str| {
        let flags = ["--namespace=mesh", "--dry-run=client", "--set", HUB, "--set", set];
        let ended = helm("install", &flags).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.split_once("NOTES:").expect("notes").1.to_owned()
    };
    let usual = notes("page=0.0.0.0:9000");
    for said in [
        "kubectl rollout status -n mesh daemonset/sidestep",
        "istio-validation",
        " 9000\n",
        "--set uninstall.enabled=true",
        "do not start then",
    ] {
        assert!(usual.contains(said), "{said}: {usual}");
    }
    assert!(notes("failurePolicy=open").contains("start uncaptured then"));
    assert!(notes("uninstall.enabled=true").contains("Pods that run stay captured"));
    assert!(notes("uninstall.enabled=true,uninstall.force=true").contains("passes their sidecars by"));
}
