//! The verifying side's hold of a probe.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use super::probe::{Orders, Said};

/// A probe gets this much longer than what it was told to wait.
const GRACE: Duration = Duration::from_secs(5);

/// A running probe; dropping it ends it and waits for it.
pub(super) struct Probe {
    child: Child,
    lines: Receiver<Said>,
}

impl Probe {
    pub(super) fn start(orders: &Orders) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg("verify-probe")
            .arg(serde_json::to_string(orders).context("encode the probe's orders")?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a probe")?;
        let stdout = child.stdout.take().context("the probe's output")?;
        let (send, lines) = mpsc::channel();
        thread::Builder::new().name("probe output".into()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line).unwrap_or(Said::Failed(line));
                if send.send(said).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, lines })
    }

    /// A probe that connects once: what came of it.
    pub(super) fn connect(orders: &Orders, within: Duration) -> Result<Said> {
        let probe = Self::start(orders)?;
        probe.next(within + GRACE)
    }

    /// A probe that listens; returns once it does.
    pub(super) fn listen(orders: &Orders) -> Result<Self> {
        let probe = Self::start(orders)?;
        match probe.next(GRACE)? {
            Said::Listening => Ok(probe),
            other => bail!("the probe said {other:?} in place of listening"),
        }
    }

    /// The next line.
    pub(super) fn next(&self, within: Duration) -> Result<Said> {
        match self.lines.recv_timeout(within) {
            Ok(Said::Failed(reason)) => Err(anyhow!("the probe cannot work: {reason}")),
            Ok(said) => Ok(said),
            Err(_) => bail!("the probe said nothing for {} s", within.as_secs()),
        }
    }

    /// The first line that `wanted` takes; None if it does not come in time.
    pub(super) fn wait_for<T>(&self, within: Duration, wanted: impl Fn(&Said) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let said = self.lines.recv_timeout(left).ok()?;
            if let Some(found) = wanted(&said) {
                return Some(found);
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Its standard input ends with this, and a listener with that; one that hangs is ended.
        drop(self.child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(1);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}
