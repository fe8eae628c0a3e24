//! The kernel's version: for fixes, which no probe shows, for what its release should have, and to say which one it is.

use anyhow::{Context, Result};

/// Major and minor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// The oldest one that is tried; `sk_lookup` and its link on namespaces are a release older.
    pub const OLDEST: Self = Self(5, 10);

    pub fn current() -> Result<Self> {
        let name = nix::sys::utsname::uname().context("uname")?;
        let release = name.release().to_string_lossy().into_owned();
        Self::parse(&release).with_context(|| format!("kernel release {release:?} is not a version"))
    }

    fn parse(release: &str) -> Option<Self> {
        let mut parts = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

/// A release, with the patch level in which fixes arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelRelease {
    pub version: KernelVersion,
    pub patch: u32,
}

impl KernelRelease {
    pub fn current() -> Result<Self> {
        let name = nix::sys::utsname::uname().context("uname")?;
        // Debian and Ubuntu carry the upstream patch level in the version, not in the release.
        let release = name.release().to_string_lossy().into_owned();
        let version = name.version().to_string_lossy().into_owned();
        Self::parse(&release, &version)
            .with_context(|| format!("kernel release {release:?} is not a version"))
    }

    fn parse(release: &str, version: &str) -> Option<Self> {
        let numbers = |text: &str| -> Vec<u32> {
            text.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok()).collect()
        };
        let head = KernelVersion::parse(release)?;
        let debian =
            version.split_whitespace().map(numbers).find(|n| n.len() >= 3 && n[..2] == [head.0, head.1]);
        let own = numbers(release);
        let patch = debian.and_then(|n| n.get(2).copied()).or_else(|| own.get(2).copied()).unwrap_or(0);
        Some(Self { version: head, patch })
    }

    /// Kernels with the known fixes of sockmaps (docs/kernel.md: "Fixes"). The error says why not.
    pub fn allows_acceleration(&self) -> Result<(), String> {
        let patched = match (self.version.0, self.version.1) {
            (5, 15) => self.patch >= 216,
            (6, 1) => self.patch >= 183,
            (6, 12) => self.patch >= 104,
            (6, minor) => minor >= 18,
            (7, minor) => minor >= 2,
            (major, _) => major > 7,
        };
        if patched {
            return Ok(());
        }
        Err(format!(
            "Linux {self} has sockmap bugs; safe are 5.15.216, 6.1.183, 6.12.104, 6.18, 7.2 and later of each"
        ))
    }
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl std::fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.version, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_level_decides_about_acceleration() {
        let safe = |release: &str, version: &str| {
            KernelRelease::parse(release, version).unwrap().allows_acceleration().is_ok()
        };
        assert!(safe("6.18.44-fc-v669", "#1 SMP PREEMPT_DYNAMIC @0"));
        assert!(safe("6.1.0-40-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.192-1 (2026-10-01)"));
        assert!(!safe("6.1.0-20-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.85-1 (2024-04-11)"));
        assert!(!safe("6.14.11", "#1 SMP") && !safe("5.10.262", "#1 SMP") && safe("7.2.13", "#1 SMP"));
    }

    #[test]
    fn releases_of_distributions() {
        assert_eq!(KernelVersion::parse("6.1.0-39-amd64"), Some(KernelVersion(6, 1)));
        assert_eq!(KernelVersion::parse("5.10.262"), Some(KernelVersion(5, 10)));
        assert_eq!(KernelVersion::parse("6.18.44-fc-v669"), Some(KernelVersion(6, 18)));
        assert_eq!(KernelVersion::parse("unknown"), None);
    }
}
