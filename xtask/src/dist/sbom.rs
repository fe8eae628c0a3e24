//! What is in the programs, as CycloneDX 1.5 has it: every crate that cargo compiles into them, the BPF object's included,
//! with the sum that Cargo.lock has for it; the standard library and the C library.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::source::Source;
use crate::{bpf_toolchain, machine::Machine, workspace::Workspace};

const OF_CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

/// Name, version, licence.
type Crate = (String, String, String);

/// What depends on what, of what `cargo tree --prefix depth` prints.
#[derive(Default)]
struct Graph(BTreeMap<Crate, BTreeSet<Crate>>);

impl Graph {
    /// Lines as `1clap v4.6.7|MIT OR Apache-2.0`, after each crate those that it depends on.
    fn read(&mut self, text: &str) -> Result<()> {
        let mut path: Vec<Crate> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let begins = line.find(|sign: char| !sign.is_ascii_digit()).context("a line without a crate")?;
            let depth: usize = line[..begins].parse().with_context(|| format!("no depth: {line}"))?;
            let (told, licence) =
                line[begins..].split_once('|').with_context(|| format!("no licence: {line}"))?;
            let mut words = told.split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let version = version.strip_prefix('v').with_context(|| format!("no version: {line}"))?;
            // `(*)` behind it: its dependencies have been printed before.
            let licence = licence.trim_end_matches(" (*)");
            let found = (name.to_owned(), version.to_owned(), licence.to_owned());
            path.truncate(depth);
            if let Some(above) = path.last() {
                self.0.entry(above.clone()).or_default().insert(found.clone());
            }
            self.0.entry(found.clone()).or_default();
            path.push(found);
        }
        Ok(())
    }
}

pub(crate) fn document(workspace: &Workspace, machine: Machine, source: &Source) -> Result<String> {
    let mut graph = Graph::default();
    for (package, target) in [
        ("proxy-user", machine.triple()),
        ("proxy-cni", machine.triple()),
        ("proxy-ebpf", bpf_toolchain::TARGET),
    ] {
        let mut cargo = workspace.cargo("tree");
        cargo.args(["--locked", "--package", package, "--target", target, "--edges", "normal,no-proc-macro"]);
        cargo.args(["--prefix", "depth", "--format", "{p}|{l}"]);
        let output = cargo.output().context("run cargo tree")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`cargo tree` of {package} failed: {}", said.trim());
        graph.read(&String::from_utf8_lossy(&output.stdout))?;
    }
    let lock = workspace.root.join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
    let lock: Lock = toml::from_str(&text).context("read Cargo.lock")?;
    let mut libraries = vec![library("std", Machine::rustc_version()?, "MIT OR Apache-2.0")];
    libraries.push(library("glibc", machine.glibc_version()?, "LGPL-2.1-or-later"));
    Ok(format!("{:#}\n", described(&graph, &lock, libraries, source)))
}

fn library(name: &str, version: String, licence: &str) -> Value {
    json!({
        "type": "library", "bom-ref": name, "name": name, "version": version,
        "licenses": [{ "expression": licence }],
    })
}

fn described(graph: &Graph, lock: &Lock, libraries: Vec<Value>, source: &Source) -> Value {
    let reference = |of: &Crate| format!("pkg:cargo/{}@{}", of.0, of.1);
    let crates = graph.0.keys().map(|found| {
        let (name, version, licence) = found;
        let locked = lock.package.iter().find(|it| it.name == *name && it.version == *version);
        let mut component = json!({
            "type": "library", "bom-ref": reference(found), "name": name, "version": version,
        });
        if !licence.is_empty() {
            // The slash of old manifests is their word for OR.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        if let Some(Package { source: Some(from), checksum: Some(sum), .. }) = locked
            && from == OF_CRATES_IO
        {
            component["purl"] = json!(reference(found));
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    });
    let edges = graph.0.iter().map(|(found, needs)| {
        let needs: Vec<String> = needs.iter().map(reference).collect();
        json!({ "ref": reference(found), "dependsOn": needs })
    });
    // The crates that nothing else here needs.
    let needed: BTreeSet<&Crate> = graph.0.values().flatten().collect();
    let roots = graph.0.keys().filter(|found| !needed.contains(found)).map(reference);
    let linked = libraries.iter().filter_map(|it| it["name"].as_str().map(str::to_owned));
    let whole = json!({ "ref": "sidestep", "dependsOn": roots.chain(linked).collect::<Vec<_>>() });
    json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "timestamp": source.date,
            "component": {
                "type": "application", "bom-ref": "sidestep", "name": "sidestep",
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
                "properties": [{ "name": "revision", "value": source.revision }],
            },
        },
        "components": crates.chain(libraries).collect::<Vec<_>>(),
        "dependencies": edges.chain([whole]).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0proxy-cni v0.1.0 (/clone/proxy-user/cni)|Apache-2.0\n1anyhow v1.0.104|MIT OR Apache-2.0\n\
        1serde_json v1.0.149|MIT/Apache-2.0\n2itoa v1.0.18|\n1itoa v1.0.18| (*)\n";

    #[test]
    fn crates_and_what_they_need_are_in_it() {
        let mut graph = Graph::default();
        graph.read(TREE).unwrap();
        let package = |name: &str, version: &str, source: Option<&str>| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            source: source.map(str::to_owned),
            checksum: source.map(|_| "00ff".to_owned()),
        };
        let lock = Lock {
            package: vec![
                package("proxy-cni", "0.1.0", None),
                package("serde_json", "1.0.149", Some(OF_CRATES_IO)),
            ],
        };
        let (revision, date) = ("cab62b0f".to_owned(), "2026-11-29T00:00:00Z".to_owned());
        let source = Source { revision, time: 17, date, told: String::new(), is_changed: false };
        let bom =
            described(&graph, &lock, vec![library("glibc", "2.36".to_owned(), "LGPL-2.1-or-later")], &source);
        let names: Vec<&str> =
            bom["components"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["anyhow", "itoa", "proxy-cni", "serde_json", "glibc"]);
        let json = &bom["components"][3];
        assert_eq!(json["hashes"][0]["content"], "00ff");
        assert_eq!(json["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(json["purl"], "pkg:cargo/serde_json@1.0.149");
        assert_eq!(
            (&bom["components"][2]["purl"], &bom["components"][1]["licenses"]),
            (&Value::Null, &Value::Null)
        );
        let needs =
            json!(["pkg:cargo/anyhow@1.0.104", "pkg:cargo/itoa@1.0.18", "pkg:cargo/serde_json@1.0.149"]);
        assert_eq!(bom["dependencies"][2], json!({ "ref": "pkg:cargo/proxy-cni@0.1.0", "dependsOn": needs }));
        let whole = json!({ "ref": "sidestep", "dependsOn": ["pkg:cargo/proxy-cni@0.1.0", "glibc"] });
        assert_eq!(bom["dependencies"][4], whole);
    }
}
