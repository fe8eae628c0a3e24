//! What the kernel has given out, and what a process had.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const LOOK_EVERY: Duration = Duration::from_micros(200);

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

/// The most memory a child has until it ends, in bytes. Looked at again and again: wait4(2) counts what the parent had
/// when it was forked.
pub(super) fn most_resident(child: &mut Child) -> Result<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        // Before exec it is the parent's copy.
        if text.starts_with("Name:\tsidestep\n") {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0) * 1024);
        }
        if let Some(status) = child.try_wait().context("wait for sidestep")? {
            ensure!(status.success(), "sidestep failed ({status})");
            return Ok(most);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
