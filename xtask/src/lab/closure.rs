//! What files need other files: shared libraries of programs, modules of modules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use crate::step;

/// The shared libraries `program` is linked with, the loader included, where the loader looks for them.
pub(crate) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = step::command("ldd").arg(program).output().context("run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A static program, or a script.
    if !output.status.success() {
        return Ok(BTreeSet::new());
    }
    let mut found = BTreeSet::new();
    for line in text.lines() {
        ensure!(!line.contains("not found"), "{}: {}", program.display(), line.trim());
        // `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
        found.extend(line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from));
    }
    Ok(found)
}

/// Paths below `modules` (the directory of a release) of what `wanted` picks and all it depends on.
pub(crate) fn modules(modules: &Path, wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<String>> {
    let list = modules.join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    Ok(closure(&text, wanted))
}

fn closure(dependencies: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let needs: BTreeMap<&str, &str> = dependencies.lines().filter_map(|line| line.split_once(':')).collect();
    // modules.dep lists indirect dependencies as well.
    needs
        .iter()
        .filter(|(path, _)| wanted(path))
        .flat_map(|(path, needs)| std::iter::once(*path).chain(needs.split_whitespace()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_along() {
        let list = "kernel/net/nf_nat.ko.xz: kernel/net/nf_conntrack.ko.xz kernel/lib/crc.ko.xz\n\
                    kernel/lib/crc.ko.xz:\nkernel/net/nf_conntrack.ko.xz: kernel/lib/crc.ko.xz\nkernel/fs/x.ko:\n";
        let found = closure(list, |path| path.contains("nf_nat"));
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            ["kernel/lib/crc.ko.xz", "kernel/net/nf_conntrack.ko.xz", "kernel/net/nf_nat.ko.xz"]
        );
    }
}
