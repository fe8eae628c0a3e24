//! Running other programs, with one progress line each. Progress goes to stderr: stdout belongs to the verb.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// `su` without a login shell leaves these out of PATH, and half of the tools live there.
const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where what steps print goes, if not to stderr.
static LOG: OnceLock<PathBuf> = OnceLock::new();
const LOOK_EVERY: Duration = Duration::from_millis(50);
const TELL_EVERY: Duration = Duration::from_secs(20);

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

/// From here on what steps print goes into this file, which begins anew.
pub(crate) fn log_to(file: &Path) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    File::create(file).with_context(|| format!("create {}", file.display()))?;
    let _ = LOG.set(file.to_owned());
    Ok(())
}

/// Announces the step, runs it without stdin, and sends what it prints to stderr, or to the log.
pub(crate) fn run(verb: &str, what: impl AsRef<str>, command: &mut Command) -> Result<()> {
    let what = what.as_ref();
    say(verb, what);
    if let Some(log) = LOG.get() {
        return logged(what, command, log);
    }
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

/// The same for a step whose output nobody reads unless it fails. What takes long says now and then where it is.
fn logged(what: &str, command: &mut Command, log: &Path) -> Result<()> {
    let begun = Instant::now();
    let out = File::options().append(true).open(log).with_context(|| format!("open {}", log.display()))?;
    let before = out.metadata().context("look at the log")?.len();
    let err = out.try_clone().context("the log once more")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("run {}", name(command)))?;
    let mut told = begun;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for {}", name(command)))? {
            break status;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let lines = last_lines(log, before, 1);
            say("", format!("{} s: {}", begun.elapsed().as_secs(), lines.trim()));
        }
        thread::sleep(LOOK_EVERY);
    };
    if !status.success() {
        let said = last_lines(log, before, 20);
        bail!("{what}: {} failed ({status}); the end of {}:\n{said}", name(command), log.display());
    }
    Ok(())
}

/// The last lines of a log, of those behind `from`.
fn last_lines(log: &Path, from: u64, count: usize) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(text.get(from as usize..).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
