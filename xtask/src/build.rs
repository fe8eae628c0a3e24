//! `cargo xtask build`: the release binaries, with the BPF object embedded by proxy-plane's build script, and
//! the CNI plugin, which runs on whatever libc a node has, or on none.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{setup, step, workspace::Workspace};

const PLUGIN: &str = "sidestep-cni";

/// Of a program header: the path of the dynamic linker (elf.h).
const PT_INTERP: u32 = 3;

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
        !has_interpreter(&image).with_context(|| format!("look into {}", built.display()))?,
        "{} asks for a dynamic linker: a node need not have one of this libc",
        built.display()
    );
    leave(&built, &release)
}

/// Somebody may be running what is there.
fn leave(built: &Path, release: &Path) -> Result<()> {
    let beside = release.with_extension("new");
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

/// Whether a 64-bit ELF program has the kernel start a dynamic linker first.
fn has_interpreter(image: &[u8]) -> Result<bool> {
    ensure!(image.starts_with(b"\x7fELF\x02\x01"), "it is no 64-bit little-endian ELF");
    let bytes = |at: usize, count: usize| image.get(at..at + count).context("it is cut short");
    let half = |at| bytes(at, 2).map(|field| usize::from(u16::from_le_bytes([field[0], field[1]])));
    let table: [u8; 8] = bytes(32, 8)?.try_into()?;
    let table = usize::try_from(u64::from_le_bytes(table))?;
    let (size, count) = (half(54)?, half(56)?);
    for index in 0..count {
        let kind: [u8; 4] = bytes(table + index * size, 4)?.try_into()?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with headers of these kinds.
    fn program(kinds: &[u32]) -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01".to_vec();
        image.resize(64, 0);
        image[32] = 64;
        image[54] = 56;
        image[56] = kinds.len() as u8;
        for kind in kinds {
            image.extend(kind.to_le_bytes());
            image.resize(image.len() + 52, 0);
        }
        image
    }

    #[test]
    fn a_program_without_dynamic_linker_has_no_header_for_it() {
        assert!(!has_interpreter(&program(&[1, 1, 2])).unwrap());
        assert!(has_interpreter(&program(&[1, PT_INTERP])).unwrap());
        assert!(has_interpreter(&program(&[1, PT_INTERP])[..100]).is_err());
        assert!(has_interpreter(b"#!/bin/sh").is_err());
    }

    /// This one is linked as cargo does it of itself.
    #[test]
    fn a_test_has_a_dynamic_linker() {
        let image = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(has_interpreter(&image).unwrap());
    }

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
