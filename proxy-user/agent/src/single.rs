//! One agent a node.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless,
};

const FILE: &str = "agent.lock";

/// Held while this lives. The file stays: removing it would let two have it.
pub(crate) struct Single(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Single {
    /// # Errors
    /// When another agent runs, with its pid.
    pub(crate) fn take(directory: &Path) -> Result<Self> {
        make_private(directory)?;
        let path = directory.join(FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("open {}", path.display()))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).with_context(|| format!("read {}", path.display()))?;
                return Err(Failure::error(
                    Class::Unavailable,
                    format!(
                        "an agent runs on this node already, or `sidestep uninstall`: process {}, which holds {}; stop it first",
                        harmless(pid.trim()),
                        path.display()
                    ),
                ));
            }
            Err((_, error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        };
        lock.set_len(0).and_then(|()| lock.rewind()).with_context(|| format!("empty {}", path.display()))?;
        writeln!(lock, "{}", std::process::id()).with_context(|| format!("write {}", path.display()))?;
        Ok(Self(lock))
    }
}

/// Makes the directory of the lock and the plugin's socket, root's alone.
fn make_private(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).with_context(|| {
        format!("make {}: run it as root, or name another place with --cni-socket", directory.display())
    })?;
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory, mode).with_context(|| format!("keep {} private", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_is_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let first = Single::take(directory.path()).unwrap();
        let error = Single::take(directory.path()).err().unwrap().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Single::take(directory.path()).unwrap();
    }
}
