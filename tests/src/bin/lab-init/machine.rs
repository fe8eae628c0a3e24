//! A machine out of an initramfs: file systems, limits, lo, modules, the end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        resource::{Resource, setrlimit},
    },
};

const MOUNTS: [(&str, &str, &str); 8] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("securityfs", "/sys/kernel/security", ""),
    ("devtmpfs", "/dev", ""),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
];

const OPEN_FILES: u64 = 1 << 20;

pub(crate) fn mount_all() -> Result<()> {
    for (kind, place, options) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("create {place}"))?;
        mount(Some(kind), place, Some(kind), MsFlags::empty(), Some(options))
            .with_context(|| format!("mount {kind} at {place}"))?;
    }
    Ok(())
}

/// The serial line that xtask listens to: which one that is, is up to what the machine is.
pub(crate) fn report() -> Result<PathBuf> {
    let line = fs::read_to_string("/proc/cmdline").context("read /proc/cmdline")?;
    let name = line.split_whitespace().find_map(|word| word.strip_prefix("lab.report="));
    Ok(Path::new("/dev").join(name.context("no lab.report= on the kernel's command line")?))
}

/// As on any node: many files. The locked-memory limit stays at its default, sidestep has to raise it by itself.
pub(crate) fn raise_limits() {
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES).ok();
}

pub(crate) fn loopback_up() -> Result<()> {
    command("ip", &["link", "set", "lo", "up"])
}

/// The kernel asks for the others itself, through /sbin/modprobe.
pub(crate) fn load(module: &str) -> Result<()> {
    command("modprobe", &[module])
}

fn command(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        // PID 1 has no PATH.
        .env("PATH", "/usr/sbin:/usr/bin")
        .output()
        .with_context(|| format!("run {program}"))?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), reason.trim());
    Ok(())
}

/// An empty directory in the place of a full one: a kernel without what is there.
pub(crate) fn hide(directory: &str) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), none)
        .with_context(|| format!("hide {directory}"))
}

pub(crate) fn power_off() -> ! {
    nix::unistd::sync();
    loop {
        // It returns only when it fails.
        let Err(error) = reboot(RebootMode::RB_POWER_OFF);
        eprintln!("lab-init: power off: {error}");
        thread::sleep(Duration::from_secs(1));
    }
}
