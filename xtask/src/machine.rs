//! What programs are built for, and by which compiler.

use std::process::Command;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Deserialize;

use crate::{apt, step, version};

/// Named as container images and Debian name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, ValueEnum)]
pub(crate) enum Machine {
    #[default]
    #[serde(rename = "amd64")]
    #[value(name = "amd64")]
    X86_64,
    #[serde(rename = "arm64")]
    #[value(name = "arm64")]
    Aarch64,
}

impl Machine {
    pub(crate) fn here() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// As rustc names it.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// As container images and Debian name it.
    pub(crate) fn of_images(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// As compilers for it, and directories of its libraries, begin.
    pub(crate) fn of_gnu(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-linux-gnu",
            Self::Aarch64 => "aarch64-linux-gnu",
        }
    }

    /// A program of binutils for it.
    pub(crate) fn tool(self, name: &str) -> String {
        if self == Self::here() { name.to_owned() } else { format!("{}-{name}", self.of_gnu()) }
    }

    /// Installs what builds programs for another machine than this one.
    pub(crate) fn prepare(self) -> Result<()> {
        if self == Self::here() {
            return Ok(());
        }
        let gnu = self.of_gnu();
        if step::find(&self.tool("gcc")).is_none() {
            let debian = gnu.replace('_', "-");
            let libc = format!("libc6-dev-{}-cross", self.of_images());
            apt::install(&[format!("gcc-{debian}").as_str(), libc.as_str()])
                .with_context(|| format!("there is no linker for {gnu}"))?;
        }
        let has = |said: String| said.lines().any(|line| line == self.triple());
        if step::ask("rustup", &["target", "list", "--installed"]).is_some_and(has) {
            return Ok(());
        }
        let mut rustup = step::command("rustup");
        rustup.args(["target", "add", self.triple()]);
        step::run("Installing", format!("the standard library for {}", self.triple()), &mut rustup)
    }

    /// Has cargo build for it.
    pub(crate) fn target(self, cargo: &mut Command) {
        cargo.args(["--target", self.triple()]);
        if self != Self::here() {
            let triple = self.triple().replace('-', "_").to_uppercase();
            cargo.env(format!("CARGO_TARGET_{triple}_LINKER"), self.tool("gcc"));
        }
    }

    /// The compiler whose standard library is linked.
    pub(crate) fn rustc_version() -> Result<String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = step::ask(rustc, &["--version"]).context("`rustc --version` failed")?;
        version::release(&said).with_context(|| format!("`rustc --version` said {said:?}"))
    }

    /// The C library that is linked, as its header has it.
    pub(crate) fn glibc_version(self) -> Result<String> {
        let compiler = if self == Self::here() { "cc".to_owned() } else { self.tool("gcc") };
        let asked = ["-E", "-dM", "-include", "features.h", "-x", "c", "/dev/null"];
        let said = step::ask(&compiler, &asked).with_context(|| format!("{compiler} -E -dM failed"))?;
        let number = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.strip_prefix("#define "));
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        let numbers = number("__GLIBC__ ").zip(number("__GLIBC_MINOR__ "));
        let (major, minor) = numbers.with_context(|| format!("{compiler}'s C library is no glibc"))?;
        Ok(format!("{major}.{minor}"))
    }
}
