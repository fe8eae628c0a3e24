//! Whether this commit makes the same bytes elsewhere: it is built again, from what git has, in another directory.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result, ensure};

use super::{Built, Files, made, tree};
use crate::{step, workspace::Workspace};

/// # Errors
/// Names the files that differ.
pub(crate) fn again(workspace: &Workspace, place: &Path, built: &Built, files: &Files) -> Result<()> {
    let source = &built.source;
    remove(place)?;
    let (sources, archive) = (place.join("source"), place.join("source.tar"));
    fs::create_dir_all(&sources).with_context(|| format!("create {}", sources.display()))?;
    let mut pack = step::command("git");
    pack.arg("-C").arg(&workspace.root).args(["archive", "--output"]).arg(&archive).arg(&source.revision);
    step::run("Packing", format!("the sources of {}", source.revision), &mut pack)?;
    let mut unpack = step::command("tar");
    unpack.arg("-xf").arg(&archive).arg("-C").arg(&sources);
    step::run("Unpacking", sources.display().to_string(), &mut unpack)?;
    // The BPF linker is where the build script looks for it.
    fs::create_dir(sources.join("target")).context("a directory for the tools")?;
    symlink(workspace.tools(), sources.join("target/tools")).context("link the tools")?;
    let elsewhere = Workspace::at(sources, place.join("build"));
    let second = made(&elsewhere, built)?;
    let other = differing(files, &second);
    ensure!(
        other.is_empty(),
        "the second build, in {}, has made something else: {}",
        place.display(),
        other.join(", ")
    );
    step::say("Checked", format!("{} files are the same bytes from two directories", files.len()));
    // Gigabytes that nobody needs any more.
    remove(place)
}

fn differing(first: &Files, second: &Files) -> Vec<String> {
    let names = first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)));
    let sum = |files: &Files, name: &str| files.get(name).map_or("missing".to_owned(), |it| tree::sum(it));
    names
        .filter(|name| first.get(*name) != second.get(*name))
        .map(|name| format!("{name} ({}, then {})", sum(first, name), sum(second, name)))
        .collect()
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let files = |all: &[(&str, &str)]| -> Files {
            all.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let first = files(&[("a", "1"), ("b", "2")]);
        assert_eq!(differing(&first, &first), Vec::<String>::new());
        let other = differing(&first, &files(&[("a", "1"), ("b", "3"), ("c", "4")]));
        assert_eq!(other.len(), 2);
        assert!(other[0].starts_with("b (d4735e3a265e16ee"), "{other:?}");
        assert!(other[1].starts_with("c (missing, then "), "{other:?}");
    }
}
