//! The files of the data plane use each other in no circle: each can be read after those it uses. A folder counts as one
//! file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dataplane");
    let mut uses = uses_in(&root);
    assert!(uses["enroll"].contains("pins") && uses["release"].contains("takeover"), "{uses:#?}");
    // What uses nothing that is left is read next.
    loop {
        let read: Vec<String> =
            uses.iter().filter(|(_, used)| used.is_empty()).map(|(file, _)| file.clone()).collect();
        if read.is_empty() {
            break;
        }
        uses.retain(|file, _| !read.contains(file));
        uses.values_mut().for_each(|used| used.retain(|file| !read.contains(file)));
    }
    assert!(uses.is_empty(), "these use each other in a circle, or use one that does: {uses:#?}");
}

/// Which files and folders each uses.
fn uses_in(root: &Path) -> Uses {
    let mut uses = Uses::new();
    let files: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let names: BTreeSet<String> = files.iter().map(name).filter(|name| name != "mod").collect();
    for path in &files {
        let (name, inner) = (name(path), path.is_dir());
        let sources = if inner {
            fs::read_dir(path).unwrap().map(|it| it.unwrap().path()).collect()
        } else {
            vec![path.clone()]
        };
        for source in sources.iter().filter(|_| name != "mod") {
            let text = fs::read_to_string(source).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            let is_root = !inner || source.file_stem().unwrap() == "mod";
            let used = paths(text).into_iter().filter_map(|path| {
                let outer =
                    if is_root { path.strip_prefix("super::") } else { path.strip_prefix("super::super::") };
                let first = outer.or_else(|| path.strip_prefix("crate::dataplane::"))?;
                first.split("::").next().map(str::to_owned)
            });
            let of_file = uses.entry(name.clone()).or_default();
            of_file.extend(used.filter(|used| names.contains(used) && *used != name));
        }
    }
    uses
}

/// All paths that a file names in `use` items, and those in its code that begin as one of the data plane's.
fn paths(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
    let mut found = Vec::new();
    for item in code.split("use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let tree: String = item.split_whitespace().collect();
        expand("", &tree, &mut found);
    }
    for start in ["super::", "crate::dataplane::"] {
        let parts = code.split(start).skip(1);
        found.extend(parts.map(|rest| {
            let end = rest.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(rest.len());
            format!("{start}{}", &rest[..end])
        }));
    }
    found
}

/// `a::{b, c::d}` names `a::b` and `a::c::d`.
fn expand(before: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        found.push(format!("{before}{tree}"));
        return;
    };
    let list = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut from) = (0, 0);
    for (at, letter) in list.char_indices().chain([(list.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if at > from {
                    expand(&format!("{before}{head}"), &list[from..at], found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}
