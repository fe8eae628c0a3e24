//! `cargo xtask build`: the release binaries, with the BPF object embedded by proxy-plane's build script, and
//! the CNI plugin, which runs on whatever libc a node has, or on none.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{elf, setup, step, workspace::Workspace};

const PLUGIN: &str = "sidestep-cni";

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    setup::bpf_toolchain(workspace)?;
    binaries(workspace)
}

/// Compiles, with the toolchain already there.
pub(crate) fn binaries(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--release", "-p", "proxy-user", "-p", "tests", "--bins"]);
    step::run("Building", workspace.release("sidestep").display().to_string(), &mut cargo)?;
    plugin(workspace)
}

/// The statically linked plugin. `cargo build` and `cargo test` of the whole workspace put one that is not
/// into its place.
pub(crate) fn plugin(workspace: &Workspace) -> Result<()> {
    let host = host()?;
    let mut cargo = workspace.cargo("rustc");
    cargo.args(["--release", "-p", "proxy-cni", "--bin", PLUGIN, "--target", &host]);
    // For this crate alone: procedural macros are shared objects and cannot be linked like this. With
    // --target cargo keeps them apart anyway.
    cargo.args(["--", "-C", "target-feature=+crt-static"]);
    let release = workspace.release(PLUGIN);
    step::run("Building", release.display().to_string(), &mut cargo)
        .context("a static program needs libc.a: libc6-dev in Debian, glibc-static in Fedora")?;

    let built = workspace.target_for(&host).join("release").join(PLUGIN);
    let image = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    ensure!(
        !elf::has_interpreter(&image).with_context(|| format!("look into {}", built.display()))?,
        "{} asks for a dynamic linker: a node need not have one of this libc",
        built.display()
    );
    leave(&built, &release)
}

/// Somebody may be running what is there.
fn leave(built: &Path, release: &Path) -> Result<()> {
    // Another build may be doing the same.
    let beside = release.with_extension(format!("{}.new", std::process::id()));
    fs::copy(built, &beside).with_context(|| format!("copy {} to {}", built.display(), beside.display()))?;
    fs::rename(&beside, release).with_context(|| format!("rename {}", beside.display()))
}

/// What the compiler itself runs on, as it names it.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = step::ask(rustc, &["-vV"]).context("`rustc -vV` failed")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_the_place_of_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let (built, release) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&built, "new").unwrap();
        fs::write(&release, "old").unwrap();
        leave(&built, &release).unwrap();
        assert_eq!(fs::read_to_string(&release).unwrap(), "new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    }
}
