//! The crates and the rooms in them, their top-level modules, use each other in no circle, and no file is too long to read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Lines of a file of code.
const LONGEST: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of Rust below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Which rooms each room uses.
fn uses(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in sources(source) {
        let room = path.strip_prefix(source).unwrap().iter().next().unwrap().to_str().unwrap();
        let room = room.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        // What tests use is no matter of the room.
        let text = if path.iter().any(|part| part == "tests" || part == "tests.rs") { "" } else { &text };
        let text = text.split("#[cfg(test)]").next().unwrap();
        uses.entry(room.clone()).or_default().extend(used(text).into_iter().filter(|used| *used != room));
    }
    uses
}

/// The first names behind `crate::`, alone or in braces.
fn used(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, character) in list.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                character if begins && !character.is_whitespace() => {
                    found.insert(name(&list[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn name(text: &str) -> String {
    text.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

#[test]
fn lists_are_read() {
    let text = "use crate::{\n    a::{b, c},\n    d,\n};\nlet x = crate::e::f();";
    assert_eq!(used(text), ["a", "d", "e"].map(str::to_owned).into());
}

#[test]
fn rooms_use_each_other_in_no_circle() {
    for (folder, known) in [
        ("proxy-user/core/src", ("explain", "compile")),
        ("proxy-user/plane/src", ("flows", "dataplane")),
        ("proxy-user/agent/src", ("plan", "decide")),
        ("proxy-user/cni/src", ("plugin", "sidecar")),
        ("proxy-user/src", ("cli", "serve")),
    ] {
        let mut uses = uses(&root().join(folder));
        assert!(uses[known.0].contains(known.1), "{folder}: {uses:#?}");
        loop {
            let read: Vec<String> =
                uses.iter().filter(|(_, used)| used.is_empty()).map(|(room, _)| room.clone()).collect();
            if read.is_empty() {
                break;
            }
            uses.retain(|room, _| !read.contains(room));
            uses.values_mut().for_each(|used| used.retain(|room| !read.contains(room)));
        }
        assert!(
            uses.is_empty(),
            "{folder}: these use each other in a circle, or use one that does: {uses:#?}"
        );
    }
}

/// Settings compile and are tested without the BPF object, its compiler, and a command line.
#[test]
fn the_core_needs_no_data_plane() {
    let manifest = fs::read_to_string(root().join("proxy-user/core/Cargo.toml")).unwrap();
    for name in ["aya", "clap", "tokio", "proxy-plane", "proxy-user"] {
        assert!(!manifest.lines().any(|line| line.starts_with(&format!("{name} "))), "{name}");
    }
    // With its default features this one builds the data plane.
    assert!(manifest.contains("tests = { path = \"../../tests\", default-features = false }"));
    let tests = fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    assert!(tests.contains("proxy-plane = { workspace = true, optional = true }"));
}

/// Whoever embeds it has its own signals and its own standard output.
#[test]
fn what_is_embedded_owns_no_process() {
    for folder in ["proxy-user/core/src", "proxy-user/plane/src", "proxy-user/src/serve"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            for owned in [" println!", " print!", "stdout()", "::signal", "process::exit"] {
                assert!(!text.contains(owned), "{}: {owned}", path.display());
            }
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for folder in ["proxy-common", "proxy-ebpf", "proxy-user", "tests", "xtask"] {
        for path in sources(&root().join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > LONGEST {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "more than {LONGEST} lines: {long:#?}");
}
