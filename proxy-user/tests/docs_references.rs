//! What the documents and comments point at is there, and it is in this repository.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where a path begins that is meant from the root of the repository.
const FOLDERS: [&str; 8] =
    [".ci/", "deploy/", "docs/", "proxy-common/", "proxy-ebpf/", "proxy-user/", "tests/", "xtask/"];
const TEXTS: [&str; 10] = ["md", "rs", "toml", "py", "sh", "yml", "yaml", "go", "html", ""];
/// Built, or not written by hand.
const LEFT_OUT: [&str; 6] = [".git", "target", "vectors", "rules", "Cargo.lock", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text, by its path from the root.
fn texts() -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            if LEFT_OUT.iter().any(|left_out| name == *left_out) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if TEXTS.contains(&path.extension().unwrap_or_default().to_str().unwrap())
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
                found.insert(path.to_owned(), text);
            }
        }
    }
    assert!(found.contains_key("README.md") && found.contains_key(".ci/run"), "{:?}", found.keys());
    found
}

/// What GitHub calls a heading in a link.
fn anchors(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter_map(|line| line.strip_prefix('#'));
    titles.map(|title| title.trim_start_matches('#').trim()).map(anchor).collect()
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// Runs of tests in a block of code: all tests of the file, by the names they have.
#[test]
fn runs_of_tests_show_the_tests_there_are() {
    let texts = texts();
    let mut shown = 0;
    for (path, text) in texts.iter().filter(|(path, _)| path.ends_with(".md")) {
        for run in text.split("\n     Running tests/").skip(1) {
            let (file, _) = run.split_once(' ').unwrap();
            let run = run.split("test result: ").next().unwrap();
            let printed: Vec<&str> = run.lines().filter_map(|line| line.strip_prefix("test ")).collect();
            let names = printed.iter().filter_map(|line| line.split([' ', ':']).next());
            let names: BTreeSet<&str> = names.collect();
            let source = &texts[&format!("tests/tests/{file}")];
            let there = source.lines().filter_map(|line| line.strip_prefix("fn "));
            let there: Vec<&str> = there.filter_map(|line| line.split('(').next()).collect();
            let missing: Vec<_> = names.iter().filter(|name| !there.contains(name)).collect();
            assert!(missing.is_empty(), "{path}: {file} has no {missing:?}");
            let attributes = source.lines().filter(|line| ["#[test]", "#[rstest]"].contains(line));
            assert_eq!(names.len(), attributes.count(), "{path} does not show all tests of {file}");
            assert!(
                run.contains(&format!("running {} tests", printed.len())),
                "{path}: {file}: {}",
                printed.len()
            );
            shown += 1;
        }
    }
    assert!(shown > 0);
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| path.ends_with(".md")) {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let here = root().join(path);
            let target = if file.is_empty() { here } else { here.parent().unwrap().join(file) };
            let led = fs::metadata(&target).is_ok();
            let is_text = target.extension().is_some_and(|end| end == "md");
            let named = fragment.is_empty()
                || is_text && fs::read_to_string(&target).is_ok_and(|text| anchors(&text).contains(fragment));
            if !led || !named {
                wrong.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_that_are_named_are_there() {
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_./-".contains(c));
        for word in words.map(|word| word.trim_end_matches('.')) {
            let has_end = Path::new(word).extension().is_some_and(|end| {
                let end = end.to_str().unwrap();
                !end.is_empty()
                    && [&TEXTS[..9], &["svg", "png", "json", "jsonl", "txt"]].concat().contains(&end)
            });
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) && has_end;
            // What cargo prints, and what a manifest says, is meant from the folder of the package.
            let is_there = root().join(word).exists()
                || word.starts_with("tests/") && root().join("tests").join(word).exists();
            if is_path && !is_there {
                wrong.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `docs/kernel.md: "Title"` in a comment, which may be broken over lines.
#[test]
fn what_is_cited_of_the_kernel_is_written_down() {
    let titles = anchors(&fs::read_to_string(root().join("docs/kernel.md")).unwrap());
    let mut cited = 0;
    for (path, text) in texts().iter().filter(|(path, _)| path.ends_with(".rs")) {
        if path.ends_with("docs_references.rs") {
            continue;
        }
        let plain = text.lines().map(|line| line.trim().trim_start_matches(['/', '!'])).collect::<String>();
        for rest in plain.split("kernel.md").skip(1) {
            let title =
                rest.strip_prefix(": \"").and_then(|rest| rest.split_once('"')).map(|(title, _)| title);
            let title = title.unwrap_or_else(|| panic!("{path} cites no section of docs/kernel.md"));
            assert!(titles.contains(&anchor(title)), "{path}: docs/kernel.md has no section {title:?}");
            cited += 1;
        }
    }
    assert!(cited > 5, "{cited}");
}

/// The tests that the threat model, the kernel's facts and the pages for who decides whether to try it name.
#[test]
fn tests_that_are_named_are_there() {
    let texts = texts();
    let mut named = BTreeSet::new();
    // The last cell of a row in the tables with a column of tests.
    let mut has_tests = false;
    for line in texts["docs/security.md"].lines() {
        has_tests = line.starts_with('|') && (has_tests || line.ends_with("| Test |"));
        if has_tests {
            let cell = line.trim_end_matches('|').rsplit('|').next().unwrap();
            named.extend(cell.split('`').skip(1).step_by(2));
        }
    }
    assert!(named.len() > 8, "{named:?}");
    // `Test: ` and `Tests: `, to the end of the sentence.
    let of_tables = named.len();
    let pages = ["docs/kernel.md", "docs/faq.md", "docs/comparison.md", "docs/versioning.md"];
    let pages = pages.map(|page| texts[page].replace('\n', " "));
    for page in &pages {
        for rest in ["est: ", "ests: "].into_iter().flat_map(|word| page.split(word).skip(1)) {
            named.extend(rest.split(". ").next().unwrap().split('`').skip(1).step_by(2));
        }
    }
    assert!(named.len() > of_tables + 20, "{named:?}");
    let of_lab = |name: &str| {
        [format!("tests/tests/{name}.rs"), format!("tests/tests/{name}/main.rs")]
            .iter()
            .any(|path| texts.contains_key(path))
    };
    let is_there = |name: &str| match name.split_once("::") {
        Some((file, test)) => texts
            .get(&format!("tests/tests/{file}.rs"))
            .is_some_and(|text| text.contains(&format!("fn {test}("))),
        None => of_lab(name) || texts.values().any(|text| text.contains(&format!("fn {name}("))),
    };
    let absent: Vec<&&str> = named.iter().filter(|name| !is_there(name)).collect();
    assert!(absent.is_empty(), "{absent:?}");
}

/// A clone is all it takes.
#[test]
fn nothing_lies_beside_the_repository() {
    let beside = ["../shared"];
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        if path.ends_with("docs_references.rs") {
            continue;
        }
        wrong.extend(beside.iter().filter(|word| text.contains(*word)).map(|word| format!("{path}: {word}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(fs::read_to_string(root().join(".github/workflows/ci.yml")).unwrap().contains("run: .ci/run"));
}
