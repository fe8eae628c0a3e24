//! Running other programs, with one progress line each. Progress goes to stderr: stdout belongs to the verb.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// `su` without a login shell leaves these out of PATH, and half of the tools live there.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    for dir in SBIN.map(PathBuf::from) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    dirs
}

/// Where `program` would be run from.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    path().into_iter().map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A command that sees the completed PATH.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Ok(path) = env::join_paths(path()) {
        command.env("PATH", path);
    }
    command
}

/// Trimmed stdout of a program, or `None` when it is missing or fails.
pub(crate) fn ask(program: impl AsRef<OsStr>, args: &[&str]) -> Option<String> {
    let output = command(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// One progress line in cargo's own layout.
pub(crate) fn say(verb: &str, what: impl AsRef<str>) {
    eprintln!("{verb:>12} {}", what.as_ref());
}

/// Announces the step, runs it without stdin, and sends what it prints to stderr.
pub(crate) fn run(verb: &str, what: impl AsRef<str>, command: &mut Command) -> Result<()> {
    let what = what.as_ref();
    say(verb, what);
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(io::stderr()))
        .status()
        .with_context(|| format!("run {}", name(command)))?;
    if !status.success() {
        bail!("{what}: {} failed ({status})", name(command));
    }
    Ok(())
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
