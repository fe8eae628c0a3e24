//! `cargo xtask lint`: formatting, clippy on the host, the BPF programs under their own target, and rustdoc.

use anyhow::{Context as _, Result, bail, ensure};

use crate::{setup, step, workspace::Workspace};

/// Runs every check, whatever the ones before it found, and fails if one of them did.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    require("fmt", "rustfmt")?;
    require("clippy", "clippy")?;
    // Clippy compiles proxy-plane, whose build script compiles the BPF programs.
    let compiler = setup::bpf_toolchain(workspace)?;

    let mut fmt = workspace.cargo("fmt");
    fmt.args(["--all", "--check"]);
    let formatting =
        step::run("Checking", "formatting", &mut fmt).context("`cargo fmt --all` mends the formatting");

    let mut bpf = compiler.lint(workspace);
    bpf.args(["-p", "proxy-ebpf", "--bins"]);
    let programs =
        step::run("Checking", format!("proxy-ebpf for the BPF target ({})", compiler.lint_name()), &mut bpf);

    let mut clippy = workspace.cargo("clippy");
    // In release, as everything else: build scripts and procedural macros are compiled once for all of it.
    clippy.args(["--workspace", "--all-targets", "--release", "--keep-going", "--", "-D", "warnings"]);
    let host = step::run("Checking", "the workspace on the host (clippy)", &mut clippy);

    let mut doc = workspace.cargo("doc");
    doc.args(["--no-deps", "--release"]).env("RUSTDOCFLAGS", "-D warnings");
    let pages = step::run("Checking", "the pages of `cargo doc`", &mut doc);

    let faults: Vec<String> = [formatting, programs, host, pages]
        .into_iter()
        .filter_map(|outcome| outcome.err().map(|error| format!("{error:#}")))
        .collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n       "));
    }
    Ok(())
}

/// Components of the host toolchain come with rustup's default profile. We do not install them: which
/// toolchain to change is not ours to choose.
fn require(subcommand: &str, component: &str) -> Result<()> {
    let found = step::ask(step::cargo(), &[subcommand, "--version"]).is_some();
    ensure!(
        found,
        "`cargo {subcommand}` is missing: `rustup component add {component}` (Debian's rustc-web has rustfmt-web, \
         and no clippy)"
    );
    Ok(())
}
