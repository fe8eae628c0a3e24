//! The Go compiler.

use std::{fmt, path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{step, version};

const WANTED: &str = "1.26";
/// Where go.dev's archive is unpacked, which is on nobody's PATH.
const USUAL: &str = "/usr/local/go/bin/go";

/// The cluster cannot be built here: a reason to skip what needs it, not a failure.
#[derive(Debug)]
pub(crate) struct Unavailable(String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// A compiler new enough.
#[derive(Debug)]
pub(crate) struct Go {
    program: PathBuf,
    pub(crate) version: String,
}

impl Go {
    /// # Errors
    /// [`Unavailable`], which says what to install.
    pub(crate) fn find() -> Result<Self> {
        let advice = "the cluster is built from Go modules: install Go 1.26 or later from https://go.dev/dl to \
                      /usr/local/go, or put it on PATH";
        let mut old = None;
        // The one of the distribution comes first on PATH, and is often older.
        for program in step::find("go").into_iter().chain([PathBuf::from(USUAL)]) {
            let Some(version) = step::ask(&program, &["env", "GOVERSION"]) else { continue };
            if version::at_least(version.trim_start_matches("go"), WANTED) {
                return Ok(Self { program, version });
            }
            old = Some(format!("{} is {version}", program.display()));
        }
        let what = old.unwrap_or_else(|| "there is no Go here".to_owned());
        Err(Unavailable(format!("{what}; {advice}")).into())
    }

    /// Static binaries, unless told otherwise: images need no libc.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = step::command(&self.program);
        command.arg(verb).env("CGO_ENABLED", "0").env("GOFLAGS", "-mod=readonly").env_remove("GOWORK");
        command
    }

    /// Where the sources of a module are.
    pub(crate) fn module(&self, dir: &std::path::Path, module: &str) -> Result<PathBuf> {
        let output = self.command("list").args(["-m", "-f", "{{.Dir}}", module]).current_dir(dir).output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(output.status.success() && !text.is_empty(), "go list -m {module} says nothing");
        Ok(PathBuf::from(text))
    }
}
