//! Debian packages that are unpacked and not installed, through an apt root of their own: the machine's sources, lists
//! and packages stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{machine::Machine, step};

/// Lines of a sources.list, and the directory everything goes to.
pub(crate) struct Archive<'a> {
    home: &'a Path,
    lines: &'a [String],
    /// What the packages are for.
    machine: Machine,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(home: &'a Path, lines: &'a [String], machine: Machine) -> Self {
        Self { home, lines, machine }
    }

    /// Downloads and unpacks what `choose` names (each `package=version`), unless this was done before; then `finish`
    /// gets the directory. When it cannot be had, what is there serves.
    pub(crate) fn fetch(
        &self,
        choose: impl FnOnce(&Self) -> Result<Vec<String>>,
        finish: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let unpacked = self.home.join("unpacked");
        let stamp = unpacked.join("package");
        let present = fs::read_to_string(&stamp).ok();
        let download = |wanted: Vec<String>| {
            if present.as_deref() == Some(wanted.join(" ").as_str()) {
                return Ok(None);
            }
            self.download(&wanted)?;
            Ok(Some(wanted.join(" ")))
        };
        match (self.update().and_then(|()| choose(self)).and_then(download), &present) {
            (Ok(None), _) => {}
            (Ok(Some(wanted)), _) => {
                self.unpack(&unpacked)?;
                finish(&unpacked)?;
                fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
            }
            (Err(error), Some(present)) => {
                step::say("Warning", format!("{error:#}; taking {present}, fetched before"));
            }
            (Err(error), None) => return Err(error),
        }
        Ok(unpacked)
    }

    fn update(&self) -> Result<()> {
        let root = self.home.join("apt");
        for part in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(root.join(part)).with_context(|| format!("create {}", root.display()))?;
        }
        let machine = self.machine.of_images();
        let sources: String =
            self.lines.iter().map(|line| format!("deb [arch={machine}] {line}\n")).collect();
        fs::write(root.join("sources.list"), sources).context("write sources.list")?;
        fs::write(root.join("status"), "").context("write the list of installed packages")?;
        step::run(
            "Updating",
            format!("package lists of {}", self.lines.join(", ")),
            self.apt("apt-get").arg("update").args(["-qq", "--error-on=any"]),
        )
        .context("its suite cannot be reached")
    }

    /// What the archive says about the newest version of `package`.
    pub(crate) fn show(&self, package: &str) -> Result<String> {
        let output = self
            .apt("apt-cache")
            .args(["show", "--no-all-versions", package])
            .output()
            .context("run apt-cache")?;
        ensure!(output.status.success() && !output.stdout.is_empty(), "the archive has no package {package}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `package=version` of these and of everything that they depend on.
    pub(crate) fn closure(&self, packages: &[String]) -> Result<Vec<String>> {
        let mut apt = self.apt("apt-get");
        apt.args(["-qq", "--simulate", "--no-install-recommends", "install"]).args(packages);
        let output = apt.output().context("run apt-get")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", packages.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(installed).collect())
    }

    fn download(&self, wanted: &[String]) -> Result<()> {
        let downloads = self.downloads();
        empty(&downloads)?;
        step::run(
            "Downloading",
            wanted.join(" "),
            self.apt("apt-get").args(["-q", "download"]).args(wanted).current_dir(&downloads),
        )
    }

    /// What was downloaded, in place of what was there.
    fn unpack(&self, into: &Path) -> Result<()> {
        empty(into)?;
        let downloads = self.downloads();
        for deb in fs::read_dir(&downloads).with_context(|| format!("list {}", downloads.display()))? {
            let deb = deb?.path();
            step::run(
                "Unpacking",
                deb.display().to_string(),
                step::command("dpkg-deb").arg("-x").arg(deb).arg(into),
            )?;
        }
        fs::remove_dir_all(&downloads).with_context(|| format!("remove {}", downloads.display()))
    }

    fn downloads(&self) -> PathBuf {
        self.home.join("download")
    }

    fn apt(&self, program: &str) -> Command {
        let root = self.home.join("apt");
        let mut command = step::command(program);
        for (option, file) in [
            ("Dir::Etc::SourceList", "sources.list"),
            ("Dir::Etc::SourceParts", "no-parts"),
            ("Dir::State", "."),
            ("Dir::State::Lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "."),
            ("Dir::Cache::Archives", "archives"),
        ] {
            command.arg("-o").arg(format!("{option}={}", root.join(file).display()));
        }
        let machine = self.machine.of_images();
        for option in [
            &format!("APT::Architecture={machine}"),
            &format!("APT::Architectures={machine}"),
            "Acquire::Languages=none",
            "APT::Sandbox::User=root",
        ] {
            command.args(["-o", option]);
        }
        command
    }
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))
}

/// `Inst libc6 (2.36-9 Debian:12/oldstable [arm64]) []`, as apt simulates it.
fn installed(line: &str) -> Option<String> {
    let (package, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    Some(format!("{package}={}", rest.split_once(' ')?.0))
}

/// A field of what [`Archive::show`] returns, named with its colon.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_would_install_is_read() {
        let said = "Inst libc6 (2.36-9+deb12u14 Debian:12.13/oldstable [arm64]) []\n\
            Inst bash (5.2.15-2+b8 Debian:12.13/oldstable [arm64])\nConf libc6 (2.36-9 Debian:12/oldstable [arm64])\n";
        let found: Vec<_> = said.lines().filter_map(installed).collect();
        assert_eq!(found, ["libc6=2.36-9+deb12u14", "bash=5.2.15-2+b8"]);
    }
}
