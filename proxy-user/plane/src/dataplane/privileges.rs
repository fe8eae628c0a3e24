//! What attach needs of the caller and of the kernel, checked before anything is touched.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use proxy_core::exit::{Class, Failure};

use crate::kernel::{feature, version::KernelVersion};

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
/// Before it, a map's memory was locked memory of its user.
const CHARGED_TO_CGROUPS: KernelVersion = KernelVersion(5, 11);
const BPF: &str = "CAP_BPF";

/// An error that names what is missing.
pub fn check() -> Result<()> {
    check_caller()?;
    check_kernel()
}

/// What who reads for a long time needs, also while there is nothing to read yet.
///
/// # Errors
/// When the kernel would open no map to the caller.
pub fn check_reading() -> Result<()> {
    if missing_capabilities()?.contains(&BPF) {
        return Err(Failure::error(
            Class::Permission,
            "missing capability: CAP_BPF, to read what is attached; run as root or grant it \
             (securityContext.capabilities.add)",
        ));
    }
    Ok(())
}

/// Of the caller, and of a kernel of this age.
pub(super) fn check_caller() -> Result<()> {
    let kernel = KernelVersion::current()?;
    if kernel < KernelVersion::OLDEST {
        return Err(Failure::error(
            Class::Unavailable,
            format!("Linux {kernel} is too old: sidestep needs {} or newer", KernelVersion::OLDEST),
        ));
    }
    let missing = missing_capabilities()?;
    if !missing.is_empty() {
        return Err(Failure::error(
            Class::Permission,
            format!(
                "missing capabilities: {}; run as root or grant them (securityContext.capabilities.add)",
                missing.join(", ")
            ),
        ));
    }
    if raise_memlock().is_err() && kernel < CHARGED_TO_CGROUPS {
        tracing::warn!(
            "the limit of locked memory cannot be raised, and Linux {kernel} charges maps to it: it may refuse one; \
             grant CAP_SYS_RESOURCE or raise the limit (LimitMEMLOCK=infinity)"
        );
    }
    Ok(())
}

/// Of the running kernel, which is asked.
pub(super) fn check_kernel() -> Result<()> {
    let lacks = feature::missing_for_redirection();
    if lacks.is_empty() { Ok(()) } else { Err(unable(&lacks)) }
}

/// What the kernel has not, though its version would: a configuration without it.
fn unable(lacks: &[(feature::Row, String)]) -> anyhow::Error {
    let lines: Vec<String> =
        lacks.iter().map(|(row, detail)| format!("{} (for {}): {detail}", row.name, row.needed_by)).collect();
    Failure::error(
        Class::Unavailable,
        format!(
            "this kernel cannot redirect: it lacks {}; `sidestep doctor` says what it has",
            lines.join("; ")
        ),
    )
}

/// What attach needs and the caller has not.
pub fn missing_capabilities() -> Result<Vec<&'static str>> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    Ok(missing(effective(&status)))
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn missing(effective: u64) -> Vec<&'static str> {
    let has = |cap: u32| effective >> cap & 1 != 0;
    // CAP_SYS_ADMIN contains the two newer ones (include/linux/capability.h: bpf_capable).
    let needed = [
        (BPF, has(CAP_BPF) || has(CAP_SYS_ADMIN)),
        ("CAP_PERFMON", has(CAP_PERFMON) || has(CAP_SYS_ADMIN)),
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
        ("CAP_SYS_ADMIN (to enter the network namespace)", has(CAP_SYS_ADMIN)),
    ];
    needed.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect()
}

/// Before Linux 5.11 maps were charged to the locked-memory limit.
///
/// # Errors
/// When it stays as it is.
pub fn raise_memlock() -> Result<()> {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).context("raise the locked-memory limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_stands_for_the_newer_capabilities() {
        assert!(missing(1 << CAP_SYS_ADMIN | 1 << CAP_NET_ADMIN).is_empty());
        assert_eq!(missing(1 << CAP_SYS_ADMIN), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(effective("Name:\tx\nCapEff:\t0000000000000000\n")).len(), 4);
    }
}
