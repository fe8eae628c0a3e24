//! Room for sidecars. Envoy takes an inotify instance and Istio's agent two, the kernel counts them by user, and the
//! sidecars of all nodes are one user of one kernel here: 42 pods use up the usual 128, and the next Envoy aborts.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
const ROOM: u32 = 2048;
/// In the cluster's directory: what it was.
const BEFORE: &str = "inotify-instances-before";

/// Of this machine, for as long as the cluster of this directory is up.
pub(crate) fn raise(dir: &Path) -> Result<()> {
    raise_at(Path::new(LIMIT), dir)
}

/// As it was, where the cluster of this directory has raised it.
pub(crate) fn restore(dir: &Path) -> Result<()> {
    restore_at(Path::new(LIMIT), dir)
}

fn raise_at(limit: &Path, dir: &Path) -> Result<()> {
    let before = read(limit)?;
    if before >= ROOM {
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    write(&dir.join(BEFORE), before)?;
    write(limit, ROOM)
}

fn restore_at(limit: &Path, dir: &Path) -> Result<()> {
    let before = dir.join(BEFORE);
    // Somebody else's number stays.
    if before.exists() && read(limit)? == ROOM {
        write(limit, read(&before)?)?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, number: u32) -> Result<()> {
    fs::write(path, number.to_string()).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_raised_is_as_before() {
        let dir = std::env::temp_dir().join(format!("xtask-inotify-{}", std::process::id()));
        let limit = dir.join("limit");
        fs::create_dir_all(&dir).unwrap();
        for (is, while_up, afterwards) in [(128, ROOM, 128), (8192, 8192, 8192)] {
            let cluster = dir.join(is.to_string());
            write(&limit, is).unwrap();
            raise_at(&limit, &cluster).unwrap();
            assert_eq!(read(&limit).unwrap(), while_up);
            restore_at(&limit, &cluster).unwrap();
            assert_eq!(read(&limit).unwrap(), afterwards);
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
