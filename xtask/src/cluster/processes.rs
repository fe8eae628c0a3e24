//! What /proc says of processes.

use std::fs;

use anyhow::{Context as _, Result};

/// The only child of `parent`: what `unshare --fork` started.
pub(crate) fn child(parent: u32) -> Result<Option<i32>> {
    for entry in fs::read_dir("/proc").context("list /proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if parent_of(&stat) == Some(parent) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// `pid (comm) state ppid …`; comm may hold spaces and parentheses.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        assert_eq!(parent_of("17 (a) b) S 4 17 17 0"), Some(4));
        assert_eq!(parent_of(""), None);
    }
}
