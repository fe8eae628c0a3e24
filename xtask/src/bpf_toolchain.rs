//! The compiler and the linker for the BPF target: what is there, and new enough. proxy-user/plane/build.rs includes this file,
//! so that a build takes what `cargo xtask setup` takes, and nothing that setup has rejected.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::version::{at_least, release};

pub(crate) const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// The workspace's, and so both crates'.
const OLDEST_RUSTC: &str = env!("CARGO_PKG_RUST_VERSION");
/// Its LLVM has to read the bitcode of rustc 1.96.
pub(crate) const OLDEST_LINKER: &str = "0.13.0";

/// The version of Debian's rustc, if it has `core` for the BPF target.
pub(crate) fn debian() -> Option<String> {
    compiler(Path::new(DEBIAN_RUSTC), &[], &format!("lib/rustlib/{TARGET}/lib"))
}

/// The version of rustup's nightly, if it has the sources of `core`.
pub(crate) fn nightly() -> Option<String> {
    compiler(Path::new("rustup"), &["run", "nightly", "rustc"], "lib/rustlib/src/rust/library")
}

/// The version of a compiler that is new enough, and has this in its sysroot.
fn compiler(program: &Path, args: &[&str], needed: &str) -> Option<String> {
    let version = release(&ask(program, &[args, &["--version"]].concat())?)?;
    let sysroot = ask(program, &[args, &["--print", "sysroot"]].concat())?;
    (at_least(&version, OLDEST_RUSTC) && Path::new(&sysroot).join(needed).is_dir()).then_some(version)
}

/// The linker that was built into this directory, or one of PATH, with its version.
pub(crate) fn linker(tools: &Path) -> Option<(PathBuf, String)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [tools.join("bin")].into_iter().chain(env::split_paths(&path));
    linker_in(dirs)
}

fn linker_in(dirs: impl Iterator<Item = PathBuf>) -> Option<(PathBuf, String)> {
    dirs.map(|dir| dir.join("bpf-linker")).filter(|program| program.is_file()).find_map(|program| {
        // That it answers also says that the LLVM it was linked to is still there.
        let version = release(&ask(&program, &["--version"])?)?;
        at_least(&version, OLDEST_LINKER).then_some((program, version))
    })
}

fn ask(program: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    // Clippy wraps the host's compiler; these are not its.
    command.args(args).env_remove("RUSTC_WORKSPACE_WRAPPER").stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        /// A program that says this when it is asked for its version, and has its sysroot here.
        fn program(&self, dir: &str, name: &str, version: &str) -> PathBuf {
            let path = self.0.join(dir).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!(
                "#!/bin/sh\ncase $1 in --version) echo '{version}';; *) echo {};; esac\n",
                self.0.display()
            );
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_compiler_that_is_too_old_or_lacks_core_is_none() {
        let dir = Dir::new("rustc");
        let new =
            dir.program("new", "rustc", "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)");
        assert_eq!(compiler(&new, &[], "core"), None);
        fs::create_dir(dir.0.join("core")).unwrap();
        assert_eq!(compiler(&new, &[], "core").as_deref(), Some("1.96.0"));
        let old = dir.program("old", "rustc", "rustc 1.85.0 (4d91de4e4 2025-02-17)");
        assert_eq!(compiler(&old, &[], "core"), None);
        assert_eq!(compiler(&dir.0.join("none"), &[], "core"), None);
    }

    #[test]
    fn a_linker_that_is_too_old_gives_way_to_the_next() {
        let dir = Dir::new("linker");
        let old = dir.program("old", "bpf-linker", "bpf-linker 0.9.14");
        let new = dir.program("new", "bpf-linker", "bpf-linker 0.13.0");
        let dirs =
            |dirs: &[&PathBuf]| dirs.iter().map(|it| it.parent().unwrap().to_owned()).collect::<Vec<_>>();
        let found = linker_in(dirs(&[&old, &new]).into_iter());
        assert_eq!(found, Some((new, "0.13.0".to_owned())));
        assert_eq!(linker_in(dirs(&[&old]).into_iter()), None);
    }
}
