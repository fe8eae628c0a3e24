//! What programs are built for, and by which compiler.

use anyhow::{Context as _, Result};

use crate::{step, version};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Machine {
    X86_64,
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

    /// As container images name it.
    pub(crate) fn of_images(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The compiler whose standard library is linked.
    pub(crate) fn rustc_version() -> Result<String> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let said = step::ask(rustc, &["--version"]).context("`rustc --version` failed")?;
        version::release(&said).with_context(|| format!("`rustc --version` said {said:?}"))
    }

    /// The C library that is linked.
    pub(crate) fn glibc_version() -> Result<String> {
        let said =
            step::ask("getconf", &["GNU_LIBC_VERSION"]).context("`getconf GNU_LIBC_VERSION` failed")?;
        Ok(said.trim_start_matches("glibc ").to_owned())
    }
}
