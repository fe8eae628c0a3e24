//! A terminal: tmux, with nobody in front of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::print_tail;

const LOOK_EVERY: Duration = Duration::from_millis(20);
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// A tmux server of its own with one window, in which a shell waits for commands. Ends with this value.
#[derive(Debug)]
pub struct Tmux {
    // Holds the socket.
    directory: tempfile::TempDir,
}

impl Tmux {
    /// A terminal of this size.
    pub fn new(width: u16, height: u16) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("lab-tmux").tempdir().context("make a directory")?;
        let tmux = Self { directory };
        let (width, height) = (width.to_string(), height.to_string());
        tmux.run(&["new-session", "-d", "-x", &width, "-y", &height, "exec env PS1='$ ' sh"])?;
        // Its size is its own, not that of a client that may come to look.
        tmux.run(&["set-option", "-g", "window-size", "manual"])?;
        tmux.run(&["resize-window", "-x", &width, "-y", &height])?;
        tmux.wait(|screen| screen.starts_with('$'))?;
        Ok(tmux)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.socket()).args(["-f", "/dev/null"]).args(args);
        // Not inside the developer's own.
        command.env_remove("TMUX").env("TERM", "xterm-256color");
        let output = command.output().context("run tmux")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tmux {args:?}: {}", stderr.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Types a line, and Enter.
    pub fn type_line(&self, line: &str) -> Result<()> {
        self.run(&["send-keys", "-l", line])?;
        self.press("Enter")
    }

    /// Presses a key, by tmux's name.
    pub fn press(&self, key: &str) -> Result<()> {
        self.run(&["send-keys", key]).map(drop)
    }

    pub fn resize(&self, width: u16, height: u16) -> Result<()> {
        self.run(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]).map(drop)
    }

    /// What is on the screen.
    pub fn screen(&self) -> Result<String> {
        self.run(&["capture-pane", "-p"])
    }

    /// The same with what it was coloured by.
    pub fn coloured_screen(&self) -> Result<String> {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// Waits until the screen is as wanted, and returns it.
    pub fn wait(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let screen = self.screen()?;
            if wanted(&screen) {
                return Ok(screen);
            }
            ensure!(Instant::now() < deadline, "the screen never showed that:\n{screen}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Pid of the program the shell runs.
    pub fn program(&self) -> Result<i32> {
        let shell = self.run(&["list-panes", "-F", "#{pane_pid}"])?;
        let shell = shell.trim();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"))
            .context("the shell's children")?;
        let first = children.split_whitespace().next().context("the shell runs nothing")?;
        first.parse().context("a pid")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("screen", &self.screen().unwrap_or_else(|error| format!("{error:#}")));
        }
        if let Err(error) = self.run(&["kill-server"]) {
            eprintln!("lab: {error:#}");
        }
    }
}
