//! What comes from Debian: programs that are installed (the node runs them), and two that are only unpacked.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
/// Nobody wants these installed: runc brings a service's configuration, and there is a busybox with applets missing.
const UNPACKED: [(&str, &str); 2] = [("runc", "usr/sbin/runc"), ("busybox-static", "bin/busybox")];

/// Installs what the nodes run, and what fetching Envoy takes.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let missing = INSTALLED.iter().filter(|(program, _)| step::find(program).is_none());
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.extend(envoy::absent_packages(workspace));
    apt::install(&packages)
}

/// runc and busybox, in `bin`.
pub(crate) fn unpack(bin: &Path) -> Result<()> {
    if UNPACKED.iter().all(|(_, file)| bin.join(name(file)).is_file()) {
        return Ok(());
    }
    let names = UNPACKED.map(|(package, _)| package).join(" and ");
    ensure!(
        step::find("apt-get").is_some(),
        "{names} are taken from Debian's archive, and there is no apt-get here"
    );
    let dir = bin.join("debian");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let download = || {
        let mut apt = step::command("apt-get");
        // _apt may not write here, and says so at length.
        apt.args(["-q", "-o", "APT::Sandbox::User=root", "download"])
            .args(UNPACKED.map(|(package, _)| package))
            .current_dir(&dir);
        step::run("Downloading", format!("{names} (Debian)"), &mut apt)
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
    for (package, file) in UNPACKED {
        let places = [dir.join("root").join(file), dir.join("root/usr").join(file)];
        let from = places.into_iter().find(|path| path.is_file());
        let from = from.with_context(|| format!("{package} holds no {file}"))?;
        fs::copy(&from, bin.join(name(file))).with_context(|| format!("copy {}", from.display()))?;
    }
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

fn name(file: &str) -> PathBuf {
    Path::new(file).file_name().map(PathBuf::from).unwrap_or_default()
}
