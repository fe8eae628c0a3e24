//! What the chart hands to the agent.

use serde_json::{Value, json};
use tests::helm::{of_kind, rendered};
use tests::requirement::{Requirement, met};
use tests::sidestep::{self, ended_command};

use crate::helm_is_there;

const ALL: &[&str] = &[
    "--set=select={shop/*,canary=yes},exclude={shop/till},excludeNamespaces={kube-system,a},waitsFor={wait}",
    "--set=proxyId=1000,accelerate=false,inflightLimit=65536,observe=false",
    "--set-string=proxyEnv.ISTIO_META_DNS_CAPTURE=true",
];

fn of_config_map(documents: &[Value]) -> Value {
    let map = of_kind(documents, "ConfigMap").unwrap();
    serde_json::from_str(map["data"]["values.json"].as_str().unwrap()).unwrap()
}

#[test]
fn values_are_as_the_agent_reads_them() {
    if !helm_is_there() {
        return;
    }
    let defaults = of_config_map(&rendered(&[]).unwrap());
    assert_eq!(
        defaults,
        json!({
            "select": [], "exclude": ["kube-system/*"], "waitsFor": ["istio-validation"], "proxyEnv": {},
            "accelerate": "safe-readers", "observe": "on",
        })
    );
    // YAML's `off` is false.
    assert_eq!(
        of_config_map(&rendered(ALL).unwrap()),
        json!({
            "select": ["shop/*", "canary=yes"], "exclude": ["shop/till", "kube-system/*", "a/*"],
            "waitsFor": ["wait"], "proxyEnv": {"ISTIO_META_DNS_CAPTURE": "true"}, "proxyId": 1000,
            "accelerate": "off", "inflightLimit": 65536, "observe": "off",
        })
    );
}

#[test]
fn what_changes_them_restarts_nobody() {
    if !helm_is_there() {
        return;
    }
    let (before, after) = (rendered(&[]).unwrap(), rendered(ALL).unwrap());
    assert_ne!(of_config_map(&before), of_config_map(&after));
    assert_eq!(of_kind(&before, "DaemonSet").unwrap(), of_kind(&after, "DaemonSet").unwrap());
}

/// Of the alerts and the dashboard every histogram is a classic one.
#[test]
fn native_histograms_come_besides_the_classic_ones() {
    if !helm_is_there() {
        return;
    }
    const MONITOR: &str = "--set=podMonitor.enabled=true";
    const NATIVE: &str = "--set=podMonitor.convertClassicHistogramsToNHCB=true";
    for (flags, expected) in [(&[MONITOR][..], Value::Null), (&[MONITOR, NATIVE], json!(true))] {
        let documents = rendered(flags).unwrap();
        let spec = &of_kind(&documents, "PodMonitor").unwrap()["spec"];
        let found = [&spec["convertClassicHistogramsToNHCB"], &spec["scrapeClassicHistograms"]];
        assert_eq!(found, [&expected, &expected], "{flags:?}");
    }
}

/// Verb and flags of a container's command.
fn words(container: &Value) -> (String, Vec<String>) {
    let texts = |key: &str| -> Vec<String> {
        container[key].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let command = texts("command");
    assert_eq!((command[0].as_str(), command.len()), ("sidestep", 2));
    (command[1].clone(), texts("args"))
}

#[test]
fn every_flag_there_is_in_the_verbs_help() {
    if !met(&[Requirement::Helm, Requirement::Sidestep]) {
        return;
    }
    let mut verbs = Vec::new();
    for flags in [&[][..], &["--set=uninstall.enabled=true,uninstall.force=true"]] {
        let documents = rendered(flags).unwrap();
        let pod = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"]["spec"];
        for container in
            [&pod["initContainers"], &pod["containers"]].iter().filter_map(|it| it.as_array()).flatten()
        {
            let (verb, args) = words(container);
            let mut help = std::process::Command::new(sidestep::binary().unwrap());
            help.args([&verb, "--help"]);
            let help = ended_command(help).unwrap();
            assert_eq!(help.code, Some(0), "{help:?}");
            for arg in &args {
                let flag = arg.split('=').next().unwrap();
                let known = help.stdout.lines().any(|line| line.split_whitespace().next() == Some(flag));
                assert!(known, "{verb} has no {flag}: {}", help.stdout);
            }
            assert!(args.len() > 1, "{args:?}");
            verbs.push(verb);
        }
    }
    assert_eq!(verbs, ["run", "uninstall", "serve"]);
}

/// What `kubectl exec` runs in the agent's container needs no flags.
#[test]
fn tools_in_the_container_know_the_nodes_paths() {
    if !met(&[Requirement::Helm, Requirement::Sidestep]) {
        return;
    }
    let documents = rendered(&["--set=cniConfDir=/nonexistent/net.d,page=127.0.0.1:1"]).unwrap();
    let container = &of_kind(&documents, "DaemonSet").unwrap()["spec"]["template"]["spec"]["containers"][0];
    let said = |verb: &[&str]| {
        let mut command = std::process::Command::new(sidestep::binary().unwrap());
        for variable in container["env"].as_array().unwrap() {
            command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        command.args(verb);
        ended_command(command).unwrap()
    };
    let diagnosis: Value = serde_json::from_str(&said(&["doctor", "--output", "json"]).stdout).unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    let plugin = findings.iter().find(|finding| finding["check"] == "cni_plugin").unwrap();
    assert!(plugin["found"].as_str().unwrap().contains("/nonexistent/net.d"), "{plugin:#}");
    let pods = said(&["pods"]);
    assert!(pods.code != Some(0) && pods.stderr.contains("127.0.0.1:1"), "{pods:?}");
}
