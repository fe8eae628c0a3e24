//! The qemu that runs the guests: this machine's, or another one out of Debian packages where that is too old.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    archive::{self, Archive},
    closure, declared,
};
use crate::{apt, machine::Machine, step};

const PROGRAM: &str = "qemu-system-x86_64";

/// A qemu.
#[derive(Clone, Debug)]
pub(crate) struct Emulator {
    pub(crate) program: PathBuf,
    /// Where its firmware is, when that is not where it looks by itself.
    pub(crate) args: Vec<OsString>,
}

impl Emulator {
    /// The distribution's: good enough with KVM, where the processor runs the guest's code, and for another machine than this.
    pub(crate) fn of_machine(machine: Machine) -> Result<Self> {
        let (program, package) = match machine {
            Machine::X86_64 => (PROGRAM, "qemu-system-x86"),
            Machine::Aarch64 => ("qemu-system-aarch64", "qemu-system-arm"),
        };
        if step::find(program).is_none() {
            apt::install(&[package])?;
        }
        let program = step::find(program).with_context(|| format!("no {program}"))?;
        Ok(Self { program, args: Vec::new() })
    }

    /// One that may run each processor of a guest in a thread of its own.
    pub(crate) fn find(declared: &declared::Emulator, home: &Path) -> Result<Self> {
        let own = Self::of_machine(Machine::X86_64)?;
        let since = release(&declared.since).context("[emulator] since: two numbers")?;
        if own.release()? >= since {
            return Ok(own);
        }
        let unpacked = Archive::new(home, &declared.archive, Machine::X86_64)
            .fetch(|archive| versions(declared, archive), |_| Ok(()))
            .with_context(|| format!("this machine's qemu is older than {}", declared.since))?;
        let program = unpacked.join("usr/bin").join(PROGRAM);
        closure::libraries(&program)
            .with_context(|| format!("install qemu {} or later by hand", declared.since))?;
        let firmware = ["qemu", "seabios"].map(|name| unpacked.join("usr/share").join(name));
        let args = firmware.into_iter().flat_map(|place| ["-L".into(), place.into_os_string()]).collect();
        let unpacked = Self { program, args };
        ensure!(
            unpacked.release()? >= since,
            "{} is older than {}",
            unpacked.program.display(),
            declared.since
        );
        Ok(unpacked)
    }

    fn release(&self) -> Result<(u32, u32)> {
        let said = step::ask(&self.program, &["--version"])
            .with_context(|| format!("{} does not run", self.program.display()))?;
        let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1);
        version.and_then(release).with_context(|| format!("{said}: no version"))
    }
}

fn versions(declared: &declared::Emulator, archive: &Archive) -> Result<Vec<String>> {
    let version = |package: &String| {
        let text = archive.show(package)?;
        let version =
            archive::field(&text, "Version:").with_context(|| format!("{package} has no version"))?;
        Ok(format!("{package}={version}"))
    };
    declared.packages.iter().map(version).collect()
}

/// The first two numbers of `7.2.22`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers() {
        assert!(release("10.0.2") > release("8.1") && release("8.1.0") == release("8.1"));
        assert!(release("7.2.22") < release("8.1"));
        assert_eq!(release("unknown"), None);
    }
}
