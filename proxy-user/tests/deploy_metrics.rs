//! The dashboard and the alert rules use metrics and labels that exist.

use std::{collections::BTreeSet, fs, path::PathBuf};

use proxy_user::serve::metrics::{Family, Kind, SOURCES};

/// What Prometheus adds.
const OF_PROMETHEUS: [&str; 2] = ["instance", "le"];

fn file(name: &str) -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)).unwrap()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The family of a series' name.
fn family(series: &str) -> Option<&'static Family> {
    let all = SOURCES.iter().flat_map(|source| source.families());
    all.into_iter().find(|family| {
        let name = family.exposed_name();
        let parts = ["_bucket", "_sum", "_count"];
        match family.kind {
            Kind::Histogram => parts.iter().any(|part| series.strip_suffix(part) == Some(&name)),
            _ => series == name,
        }
    })
}

/// Names of a list of matchers, `a="x", b=~"y"`; values are left out.
fn matched(list: &str) -> Vec<&str> {
    list.split(['"'])
        .step_by(2)
        .map(|part| part.trim_matches(|c: char| !is_word(c)))
        .filter(|name| !name.is_empty())
        .collect()
}

/// The labels the series of an expression have; panics at a name, matcher or grouping that does not exist.
fn check(expression: &str) -> BTreeSet<&'static str> {
    let mut labels: BTreeSet<&'static str> = OF_PROMETHEUS.into_iter().collect();
    let mut families = 0;
    for (at, _) in expression.match_indices("sidestep_") {
        let rest = &expression[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let family =
            family(&rest[..end]).unwrap_or_else(|| panic!("no metric {} in {expression}", &rest[..end]));
        if let Some(list) = rest[end..].strip_prefix('{') {
            for name in matched(list.split_once('}').expect("the matchers' end").0) {
                let there = family.labels.contains(&name) || OF_PROMETHEUS.contains(&name);
                assert!(there, "{} has no label {name}: {expression}", family.exposed_name());
            }
        }
        labels.extend(family.labels);
        families += 1;
    }
    assert!(families > 0, "no metric of ours in {expression}");
    for list in expression.split("by (").skip(1) {
        for name in list.split_once(')').expect("the list's end").0.split(',').map(str::trim) {
            assert!(labels.contains(name), "nothing to group by {name} in {expression}");
        }
    }
    labels
}

/// Panics at a placeholder for a label the series do not have.
fn check_text(text: &str, before: &str, labels: &BTreeSet<&'static str>) {
    for rest in text.split(before).skip(1) {
        let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        assert!(labels.contains(name), "no label {name} in {text}");
    }
}

#[test]
fn the_dashboard_uses_what_exists() {
    let dashboard: serde_json::Value = serde_json::from_str(&file("grafana/sidestep.json")).unwrap();
    let mut queries = 0;
    for target in dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
    {
        let labels = check(target["expr"].as_str().unwrap());
        check_text(target["legendFormat"].as_str().unwrap(), "{{", &labels);
        queries += 1;
    }
    assert!(queries > 20, "{queries}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["definition"].as_str() {
            let labels = check(query);
            let label = query.rsplit_once(", ").unwrap().1.trim_end_matches(')');
            assert!(labels.contains(label), "{query}");
        }
    }
}

#[test]
fn the_alerts_use_what_exists() {
    let rules = file("prometheus/sidestep.rules.yaml");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let expression =
            alert.lines().find_map(|line| line.trim().strip_prefix("expr: ")).expect("an expression");
        check_text(alert, "$labels.", &check(expression));
    }
}

#[test]
fn the_recordings_use_what_exists() {
    let rules = file("prometheus/sidestep.rules.yaml");
    let expressions = rules.split("- record: ").skip(1).map(|record| {
        record.lines().find_map(|line| line.trim().strip_prefix("expr: ")).expect("an expression")
    });
    assert!(expressions.map(check).count() >= 3);
}

#[test]
#[should_panic(expected = "has no label client")]
fn a_label_that_does_not_exist_is_found() {
    check("sum(rate(sidestep_decisions_total{rule=\"O15\", client=~\"x\"}[5m]))");
}
