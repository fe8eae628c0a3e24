//! `cargo xtask lint`: formatting, clippy on the host, and the BPF programs under their own target.

use anyhow::{Result, ensure};

use crate::{setup, step, workspace::Workspace};

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    require("fmt", "rustfmt")?;
    require("clippy", "clippy")?;

    let mut fmt = workspace.cargo("fmt");
    step::run("Checking", "formatting", fmt.args(["--all", "--check"]))?;

    // Clippy compiles proxy-user, whose build script compiles the BPF programs.
    let compiler = setup::bpf_toolchain(workspace)?;
    let mut clippy = workspace.cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--", "-D", "warnings"]);
    step::run("Checking", "the workspace on the host (clippy)", &mut clippy)?;

    let mut bpf = compiler.lint(workspace);
    bpf.args(["-p", "proxy-ebpf", "--bins"]);
    step::run("Checking", format!("proxy-ebpf for the BPF target ({})", compiler.lint_name()), &mut bpf)
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
