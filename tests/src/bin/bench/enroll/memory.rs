//! What the kernel has given out, and what a process had.

use std::fs;

use anyhow::{Context, Result, ensure};

const PARTS: [&str; 3] = ["Slab:", "VmallocUsed:", "Percpu:"];

/// Bytes of the kernel's own, machine-wide; nothing else should be going on.
pub(super) fn of_kernel() -> Result<u64> {
    // What RCU has yet to free is not in use.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let kib = text
        .lines()
        .filter(|line| PARTS.iter().any(|part| line.starts_with(part)))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.sum::<u64>() * 1024)
}

/// Waits for a child: its exit status, and the most memory it had, in bytes.
#[allow(unsafe_code, reason = "wait4, which the standard library does not have")]
pub(super) fn wait(pid: i32) -> Result<(i32, u64)> {
    let mut status = 0;
    // SAFETY: plain data, filled in by the call.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: a child of this process and two places to write to.
    let done = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    ensure!(done == pid, "wait4: {}", std::io::Error::last_os_error());
    Ok((status, u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024))
}
