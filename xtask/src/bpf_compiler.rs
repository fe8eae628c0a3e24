//! What to do with the compiler for the BPF target that [`bpf_toolchain`] finds, and what to do about none.

use std::process::Command;

use anyhow::{Result, anyhow};

use crate::{
    bpf_toolchain::{self, DEBIAN_RUSTC, TARGET},
    step,
    workspace::Workspace,
};

const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

pub(crate) enum BpfCompiler {
    /// Debian's rustc, which ships `core` for the BPF targets.
    Debian { version: String },
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly { version: String, clippy: bool },
}

impl BpfCompiler {
    /// The first one present that is new enough for this workspace.
    pub(crate) fn find() -> Option<Self> {
        bpf_toolchain::debian().map(|version| Self::Debian { version }).or_else(|| {
            let version = bpf_toolchain::nightly()?;
            let clippy = step::ask("rustup", &["run", "nightly", "cargo", "clippy", "--version"]).is_some();
            Some(Self::Nightly { version, clippy })
        })
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
