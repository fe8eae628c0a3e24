//! What comes from Debian: programs that are installed (the node runs them), and one that is only unpacked.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{apt, envoy, step, workspace::Workspace};

/// kube-proxy runs nft, istio-init iptables, the bridge plugin ip; the stand-in plugin is Python.
const INSTALLED: &[(&str, &str)] = &[
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
];
/// Nobody wants it installed: there is a busybox with applets missing.
const UNPACKED: (&str, &str) = ("busybox-static", "bin/busybox");

/// runc is compiled with them: kubelet has it filter the system calls of every sandbox.
const OF_SECCOMP: [&str; 2] = ["libseccomp-dev", "pkg-config"];

/// Installs what the nodes run, what compiling runc takes, and what fetching Envoy takes.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let missing = INSTALLED.iter().filter(|(program, _)| step::find(program).is_none());
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if step::ask("pkg-config", &["--exists", "libseccomp"]).is_none() {
        packages.extend(OF_SECCOMP);
    }
    packages.extend(envoy::absent_packages(workspace));
    apt::install(&packages)
}

/// busybox, in `bin`.
pub(crate) fn unpack(bin: &Path) -> Result<()> {
    let (package, file) = UNPACKED;
    let to = bin.join("busybox");
    if to.is_file() {
        return Ok(());
    }
    ensure!(
        step::find("apt-get").is_some(),
        "{package} is taken from Debian's archive, and there is no apt-get here"
    );
    let dir = bin.join("debian");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let download = || {
        let mut apt = step::command("apt-get");
        // _apt may not write here, and says so at length.
        apt.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]).current_dir(&dir);
        step::run("Downloading", format!("{package} (Debian)"), &mut apt)
    };
    if download().is_err() {
        step::run("Updating", "package lists", step::command("apt-get").args(["-q", "update"]))?;
        download()?;
    }
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "deb") {
            let status = step::command("dpkg").arg("-x").arg(entry.path()).arg(dir.join("root")).status();
            ensure!(status.context("run dpkg")?.success(), "dpkg -x {} failed", entry.path().display());
        }
    }
    let places = [dir.join("root").join(file), dir.join("root/usr").join(file)];
    let from = places.into_iter().find(|path| path.is_file());
    let from = from.with_context(|| format!("{package} holds no {file}"))?;
    fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}
