//! The compiler for the BPF target. proxy-user/build.rs looks in the same order.

use std::{path::Path, process::Command};

use anyhow::{Result, anyhow};

use crate::{
    step,
    version::{self, release},
    workspace::Workspace,
};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

pub(crate) const TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

pub(crate) enum BpfCompiler {
    /// Debian's rustc, which ships `core` for the BPF targets.
    Debian { version: String },
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly { version: String, clippy: bool },
}

impl BpfCompiler {
    /// The first one present that is new enough for this workspace.
    pub(crate) fn find() -> Option<Self> {
        Self::debian().or_else(Self::nightly)
    }

    fn debian() -> Option<Self> {
        let version = release(&step::ask(DEBIAN_RUSTC, &["--version"])?)?;
        let sysroot = step::ask(DEBIAN_RUSTC, &["--print", "sysroot"])?;
        let core = Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib");
        (new_enough(&version) && core.is_dir()).then_some(Self::Debian { version })
    }

    fn nightly() -> Option<Self> {
        let ask = |args: &[&str]| step::ask("rustup", &[&["run", "nightly"], args].concat());
        let version = release(&ask(&["rustc", "--version"])?)?;
        let sysroot = ask(&["rustc", "--print", "sysroot"])?;
        let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
        (new_enough(&version) && source.is_dir())
            .then(|| Self::Nightly { version, clippy: ask(&["cargo", "clippy", "--version"]).is_some() })
    }

    /// Debian packages that would give us a compiler; none when there is one.
    pub(crate) fn absent_packages() -> Vec<&'static str> {
        // Both are named even when one is installed: it is then too old, and apt upgrades it.
        if Self::find().is_some() { Vec::new() } else { DEBIAN_PACKAGES.to_vec() }
    }

    /// # Errors
    /// Says both ways to get one.
    pub(crate) fn require() -> Result<Self> {
        Self::find().ok_or_else(|| anyhow!(Self::advice()))
    }

    /// What is missing, and both ways to get it.
    pub(crate) fn advice() -> String {
        format!(
            "no Rust compiler for {TARGET}, {} or newer: \
             `apt-get install {}`, or `rustup toolchain install nightly --component rust-src`",
            env!("CARGO_PKG_RUST_VERSION"),
            DEBIAN_PACKAGES.join(" ")
        )
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Debian { version } => format!("{DEBIAN_RUSTC} {version}"),
            Self::Nightly { version, .. } => format!("rustup nightly {version} with rust-src"),
        }
    }

    /// The strictest check this compiler has for the BPF target, as a command still to be given a package.
    pub(crate) fn lint(&self, workspace: &Workspace) -> Command {
        let mut command = match self {
            Self::Debian { .. } => {
                let mut command = workspace.cargo("check");
                // aya-ebpf is written in unstable inline assembly, which this stable compiler has to let through.
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Self::Nightly { clippy, .. } => {
                let mut command = step::command("rustup");
                command.current_dir(&workspace.root).args(["run", "nightly", "cargo"]);
                command.args([if *clippy { "clippy" } else { "check" }, "-Zbuild-std=core"]);
                command
            }
        };
        let flags = [
            "-Dwarnings".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH),
        ];
        command
            .args(["--release", "--target", TARGET, "--target-dir"])
            .arg(workspace.target_for("bpf-lint"))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command
    }

    pub(crate) fn lint_name(&self) -> &'static str {
        match self {
            Self::Debian { .. } => "cargo check -D warnings (Debian's rustc has no clippy)",
            Self::Nightly { clippy: true, .. } => "clippy -D warnings",
            Self::Nightly { clippy: false, .. } => {
                "cargo check -D warnings (nightly has no clippy component)"
            }
        }
    }
}

fn new_enough(version: &str) -> bool {
    version::at_least(version, env!("CARGO_PKG_RUST_VERSION"))
}
