//! Ctrl-C and the like: what the bench has started ends, and what it has made is taken away before it ends itself.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::ended;

const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(super) struct Interrupt {
    came: Arc<AtomicBool>,
    /// Process groups to end.
    groups: Arc<Mutex<Vec<Pid>>>,
}

impl Interrupt {
    /// Catches signals from now on.
    pub(super) fn catch() -> Result<Self> {
        let interrupt = Self { came: ended::by_signal()?, groups: Arc::default() };
        let watched = interrupt.clone();
        thread::Builder::new().name("interrupt".into()).spawn(move || watched.watch())?;
        Ok(interrupt)
    }

    /// A process that leads a group of its own ends with the first signal, and its group with it.
    pub(super) fn ends(&self, leader: u32) {
        if let Ok(leader) = i32::try_from(leader) {
            self.groups.lock().unwrap_or_else(PoisonError::into_inner).push(Pid::from_raw(leader));
        }
    }

    /// # Errors
    /// Once a signal came.
    pub(super) fn check(&self) -> Result<()> {
        if self.came.load(Ordering::Relaxed) {
            bail!("interrupted: everything it had made is taken away");
        }
        Ok(())
    }

    /// The bench waits for what a stage says, which ends with the stage.
    fn watch(&self) {
        while !self.came.load(Ordering::Relaxed) {
            thread::sleep(LOOK_EVERY);
        }
        for group in self.groups.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = killpg(*group, Signal::SIGKILL);
        }
    }
}
