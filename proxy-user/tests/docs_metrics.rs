//! docs/metrics.md has every family and every label value, as the code has them. SIDESTEP_UPDATE_DOCS=1 writes them.

use std::{collections::BTreeSet, fs, path::PathBuf};

use proxy_user::serve::metrics::{Family, Kind, SOURCES};

fn families() -> Vec<&'static Family> {
    SOURCES.iter().flat_map(|source| source.families()).collect()
}

fn family_table() -> String {
    let lines = families().into_iter().map(|family| {
        let unit = family.unit.as_ref().map_or("", |unit| unit.as_str());
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind) = (family.exposed_name(), family.kind.name());
        format!("| `{name}` | {kind} | {unit} | {} | {} |\n", labels.join(", "), family.help)
    });
    let head = "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    lines.fold(head, |table, line| table + &line)
}

fn label_table() -> String {
    let mut table = "| label | value | meaning |\n|---|---|---|\n".to_owned();
    for values in SOURCES.iter().flat_map(|source| source.values()) {
        let names: Vec<String> =
            values.of.iter().map(|family| format!("`{}`", family.exposed_name())).collect();
        assert!(values.of.iter().all(|family| family.labels.contains(&values.label)), "{names:?}");
        table += &format!("| `{}` of {} | | |\n", values.label, names.join(", "));
        table.extend(values.values.iter().map(|(value, meaning)| format!("| | `{value}` | {meaning} |\n")));
    }
    table
}

fn part(page: &str, name: &str, wanted: &str) -> (String, bool) {
    let (before, rest) = page.split_once(&format!("<!-- {name}: begin")).expect("the begin mark");
    let (mark, rest) = rest.split_once("-->\n").expect("the begin mark's end");
    let (there, after) = rest.split_once(&format!("<!-- {name}: end -->")).expect("the end mark");
    let page = format!("{before}<!-- {name}: begin{mark}-->\n{wanted}<!-- {name}: end -->{after}");
    (page, there == wanted)
}

#[test]
fn the_page_has_every_family_and_label() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(&path).unwrap();
    let (page, families_same) = part(&page, "families", &family_table());
    let (page, labels_same) = part(&page, "labels", &label_table());
    if std::env::var_os("SIDESTEP_UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let same = families_same && labels_same;
    assert!(same, "docs/metrics.md is behind the code: run this test with SIDESTEP_UPDATE_DOCS=1");
}

#[test]
fn names_follow_the_conventions() {
    let mut seen = BTreeSet::new();
    for family in families() {
        let name = family.exposed_name();
        assert!(seen.insert(name.clone()), "{name} is there twice");
        let word =
            |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit());
        assert!(word(&name), "{name}");
        assert!(
            !family.help.is_empty() && !family.help.contains(['\n', '\\', '|']),
            "{name}: {}",
            family.help
        );
        assert!(!family.help.ends_with('.'), "{name}: {}", family.help);
        for label in family.labels {
            assert!(word(label) && !["le", "quantile", "job", "instance"].contains(label), "{name}: {label}");
        }
        let counts = family.kind == Kind::Counter;
        assert_eq!(counts, name.ends_with("_total"), "{name}");
    }
}
