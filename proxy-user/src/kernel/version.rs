//! The kernel's version, for features that cannot be probed without side effects.

use anyhow::{Context, Result};

/// Major and minor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelVersion(pub u32, pub u32);

impl KernelVersion {
    /// `bpf_sk_lookup` and its netns link.
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

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions() {
        assert_eq!(KernelVersion::parse("6.1.0-39-amd64"), Some(KernelVersion(6, 1)));
        assert_eq!(KernelVersion::parse("5.10.262"), Some(KernelVersion(5, 10)));
        assert_eq!(KernelVersion::parse("6.18.44-fc-v669"), Some(KernelVersion(6, 18)));
        assert_eq!(KernelVersion::parse("unknown"), None);
    }
}
