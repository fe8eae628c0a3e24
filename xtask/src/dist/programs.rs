//! The programs as they are given to others: statically linked, so that neither image nor node needs a C library, without
//! symbols, and the same bytes wherever this commit is built by the same compilers.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    image::BINARIES,
    source::{self, Source},
};
use crate::{apt, elf, machine::Machine, step, workspace::Workspace};

const PACKAGES: [&str; 2] = ["proxy-user", "proxy-cni"];
const PROFILE: &str = "dist";
/// What both together may have: this is on every node, and in every pull.
const MOST: u64 = 16 * 1024 * 1024;

/// Compiles them into `workspace`'s target directory; the directory they are in.
pub(crate) fn build(workspace: &Workspace, machine: Machine, source: &Source) -> Result<PathBuf> {
    machine.prepare()?;
    if machine == Machine::here() && !has_static_libc() {
        apt::install(&["libc6-dev"]).context("a static program needs libc.a (glibc-static in Fedora)")?;
    }
    let triple = machine.triple();
    let directory = workspace.target_for(triple).join(PROFILE);
    let mut all = 0;
    for (package, binary) in PACKAGES.into_iter().zip(BINARIES) {
        let mut cargo = workspace.cargo("rustc");
        cargo.args(["--locked", "--profile", PROFILE, "--package", package, "--bin", binary]);
        machine.target(&mut cargo);
        cargo.args(["--", "-C", "target-feature=+crt-static"]);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", paths(workspace)?.join("\x1f")).env_remove("RUSTFLAGS");
        cargo.env(source::GIVEN, &source.told);
        let path = directory.join(binary);
        step::run("Building", path.display().to_string(), &mut cargo)?;
        let image = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            !elf::has_interpreter(&image)? && elf::architecture(&image)? == machine.of_images(),
            "{} is not a static program for {triple}",
            path.display()
        );
        all += image.len() as u64;
    }
    ensure!(
        all <= MOST,
        "{} is {all} bytes, more than {MOST}: see what has grown (cargo bloat), or raise the limit",
        directory.display()
    );
    Ok(directory)
}

/// The linker's driver answers with a path if there is one.
fn has_static_libc() -> bool {
    step::ask("cc", &["-print-file-name=libc.a"]).is_some_and(|path| path.contains('/'))
}

/// Where a clone, its target directory and cargo's home are on this machine is said in messages of panics: here it is the
/// same everywhere.
fn paths(workspace: &Workspace) -> Result<Vec<String>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("where is cargo's home?")?;
    // Of two that fit the last one counts.
    let all: [(&Path, &str); 3] =
        [(&home, "/cargo"), (&workspace.root, "/sidestep"), (workspace.target(), "/target")];
    Ok(all.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).to_vec())
}
