//! tests/kernels.toml: which kernels there are, where they come from, what may be skipped on them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::machine::Machine;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    /// Requirements no guest meets.
    may_skip: Vec<String>,
    /// Test binaries that `--ci` runs: what depends on the kernel most, in the time CI has.
    ci_tests: Vec<String>,
    /// Test binaries that run only when they are asked for, and why.
    pub(crate) left_out: BTreeMap<String, String>,
    pub(crate) emulator: Emulator,
    /// What guests of another machine than this one are made of.
    pub(crate) foreign: Foreign,
    #[serde(rename = "kernel")]
    kernels: Vec<Kernel>,
}

/// For machines whose own qemu is older than `since`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emulator {
    pub(crate) since: String,
    pub(crate) packages: Vec<String>,
    pub(crate) archive: Vec<String>,
}

/// Debian packages with the programs that tests run: those of this machine are none there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Foreign {
    pub(crate) packages: Vec<String>,
    pub(crate) archive: Vec<String>,
    /// Requirements that they do not meet.
    may_skip: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) package: String,
    pub(crate) archive: Vec<String>,
    /// What it runs on.
    #[serde(default)]
    pub(crate) machine: Machine,
    #[serde(default)]
    ci: bool,
    #[serde(default)]
    may_skip: Vec<String>,
    /// Another name, or the same kernel under other conditions: whose package is used.
    #[serde(default)]
    package_of: Option<String>,
    /// For the kernel's command line.
    #[serde(default)]
    pub(crate) append: String,
    /// Directories over which init mounts nothing.
    #[serde(default)]
    pub(crate) hide: Vec<String>,
    /// Features (`sidestep doctor`) that the two above take away.
    #[serde(default)]
    pub(crate) withheld: Vec<String>,
}

impl Kernel {
    /// The directory of its package, below target/lab.
    pub(crate) fn home(&self) -> &str {
        self.package_of.as_deref().unwrap_or(&self.name)
    }

    /// The same with logs of its own.
    pub(crate) fn called(&self, name: &str) -> Self {
        Self { name: name.to_owned(), package_of: Some(self.home().to_owned()), ..self.clone() }
    }
}

impl Declared {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// The kernels named, or those of CI, or all.
    pub(crate) fn choose(&self, names: &[String], ci: bool) -> Result<Vec<Kernel>> {
        for name in names {
            let known: Vec<&str> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
            ensure!(
                known.contains(&name.as_str()),
                "--kernels {name}: tests/kernels.toml has {}",
                known.join(", ")
            );
        }
        let wanted =
            |kernel: &&Kernel| (names.is_empty() || names.contains(&kernel.name)) && (!ci || kernel.ci);
        Ok(self.kernels.iter().filter(wanted).cloned().collect())
    }

    pub(crate) fn ci_tests(&self) -> &[String] {
        &self.ci_tests
    }

    pub(crate) fn skips_of(&self, kernel: &Kernel) -> String {
        let of_machine = if kernel.machine == Machine::here() { &[][..] } else { &self.foreign.may_skip };
        [&self.may_skip[..], &kernel.may_skip[..], of_machine].concat().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn the_file_of_the_repository_is_understood() {
        let root = Workspace::locate().unwrap().root;
        let declared = Declared::read(&root.join("tests/kernels.toml")).unwrap();
        let ci: Vec<String> =
            declared.choose(&[], true).unwrap().into_iter().map(|kernel| kernel.name).collect();
        assert_eq!(ci, ["6.12", "6.1"]);
        let error = declared.choose(&["4.4".to_owned()], false).unwrap_err().to_string();
        assert!(error.contains("4.4") && error.contains("6.12"), "{error}");
    }
}
