//! Room on the disk, asked for before long work begins: a full disk ends it somewhere in the middle, with half a file.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use nix::sys::statvfs::statvfs;

use crate::workspace::Workspace;

/// GB that every test takes from a clean clone, with the cluster's programs and the caches of Go and cargo.
const FIRST: u64 = 14;
/// GB once everything is built.
const AGAIN: u64 = 3;

pub(crate) fn for_tests(workspace: &Workspace) -> Result<()> {
    let target = workspace.target();
    fs::create_dir_all(target).with_context(|| format!("create {}", target.display()))?;
    let built = ["release/deps", "cluster/bin"].iter().all(|part| target.join(part).is_dir());
    let needed = if built { AGAIN } else { FIRST };
    enough(target, free(target)?, needed)
}

/// In MB, as somebody without privileges has them.
fn free(directory: &Path) -> Result<u64> {
    let stat = statvfs(directory).with_context(|| format!("statvfs {}", directory.display()))?;
    Ok(stat.blocks_available() * stat.fragment_size() / 1_000_000)
}

fn enough(directory: &Path, free: u64, needed: u64) -> Result<()> {
    ensure!(
        free >= needed * 1000,
        "the tests take up to {needed} GB, and the file system of {} has {}.{} GB free: make room (`cargo clean` if other \
         builds fill it), or set CARGO_TARGET_DIR to a directory of a larger one",
        directory.display(),
        free / 1000,
        free % 1000 / 100
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_before_work_begins() {
        let target = Path::new("/src/target");
        assert!(enough(target, 14_000, 14).is_ok());
        let said = enough(target, 4_290, 14).expect_err("4 of 14 GB").to_string();
        assert!(said.contains("up to 14 GB") && said.contains("/src/target has 4.2 GB free"), "{said}");
    }

    #[test]
    fn a_file_system_tells_its_room() {
        assert!(free(Path::new("/")).expect("the root's file system") > 0);
        assert!(free(Path::new("/nowhere")).is_err());
    }
}
