//! The plugin where the runtime finds it: its binary, and our entry in the list of the network that pods get.
//! Others write that list too, so that we look again and again.
//!
//! The binary is there before the entry, and the entry goes before the binary: a runtime that does not find a
//! plugin of its list starts no pod. `list` is about the text of a list, `look` about the directory,
//! `plan` says what is to be done, and `disk` does it so that whoever reads meanwhile, or comes after an
//! agent that was killed, finds whole files.

mod backoff;
mod binary;
mod disk;
mod entries;
mod list;
mod look;
mod plan;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use proxy_cni::entry::Entry;
use proxy_core::harmless::harmless_path;

pub use self::entries::entries;
use self::{
    backoff::Backoff,
    binary::Binary,
    disk::{Before, Disk, Meanwhile},
    look::{Content, Look},
    plan::{Change, Plan},
};

/// How long a file that cannot be parsed counts as one that somebody is writing.
const WRITING: Duration = Duration::from_secs(10);

/// How our entry gets into the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Into the file itself: every runtime reads that.
    InList,
    /// Into a file of its own, which the runtime appends to the list.
    DropIn,
}

impl Placement {
    /// By what the runtime calls itself and its version. containerd has the libcni that appends files (1.3.0)
    /// since 2.1. A distribution may have built it with another: whether the runtime has our entry, it says
    /// itself.
    pub fn of(runtime: &str, version: &str) -> Self {
        let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
        match (runtime, numbers.next(), numbers.next()) {
            ("containerd", Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (2, 1) => Self::DropIn,
            _ => Self::InList,
        }
    }
}

/// Where things are on this node.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The runtime's networks.
    pub networks: PathBuf,
    /// The runtime's plugins.
    pub plugins: PathBuf,
    /// Our plugin, to be copied there.
    pub source: PathBuf,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Binary and entry are there. Whether the runtime has read it, it has to say itself.
    Installed { file: PathBuf },
    /// To be tried again; nothing is wrong that we could mend.
    Waiting { why: String },
}

pub struct Installer {
    paths: Paths,
    entry: Entry,
    placement: Placement,
    disk: Disk,
    binary: Binary,
    /// Whether it was all there since we look: what is missing from then on, somebody has taken away.
    was_installed: bool,
    /// A runtime may have missed what an agent before us has written.
    is_known: bool,
    repairs: BTreeMap<PathBuf, u64>,
    backoff: Backoff,
    /// Files that cannot be parsed, since when they are like this.
    unparsable: BTreeMap<PathBuf, (String, Instant)>,
}

impl Installer {
    pub fn new(paths: Paths, entry: Entry, placement: Placement) -> Self {
        let before = |what: &str, path: &Path| {
            tracing::debug!("{what} {}", harmless_path(path));
            Ok::<_, io::Error>(())
        };
        Self::with(paths, entry, placement, Box::new(before))
    }

    fn with(paths: Paths, entry: Entry, placement: Placement, before: Before) -> Self {
        let binary = Binary::new(paths.source.clone(), &paths.plugins);
        Self {
            paths,
            entry,
            placement,
            disk: Disk::new(before),
            binary,
            was_installed: false,
            is_known: false,
            repairs: BTreeMap::new(),
            backoff: Backoff::default(),
            unparsable: BTreeMap::new(),
        }
    }

    /// From the next step on.
    pub fn place(&mut self, placement: Placement) {
        self.placement = placement;
        self.is_known = false;
    }

    /// Another entry of ours, from the next step on.
    pub fn set_entry(&mut self, entry: Entry) {
        self.entry = entry;
        // Nobody else has written what is there now.
        self.was_installed = false;
    }

    /// How often our entry was put back, by file.
    pub fn repairs(&self) -> &BTreeMap<PathBuf, u64> {
        &self.repairs
    }

    /// Looks, and puts there what is missing. To be called every second or so: when nothing has changed it
    /// writes nothing.
    ///
    /// # Errors
    /// When something cannot be read or written. The next step goes on from wherever this one came to.
    pub fn step(&mut self, now: Instant) -> Result<State> {
        self.tidy()?;
        self.binary.ensure(&mut self.disk).context("install the CNI plugin")?;
        let look = Look::at(&self.paths.networks)?;
        self.remember_unparsable(&look, now);
        let is_abandoned = |path: &Path| {
            self.unparsable.get(path).is_some_and(|(_, since)| now.duration_since(*since) >= WRITING)
        };
        let plan = plan::install(&look, &self.paths.networks, self.placement, &self.entry, &is_abandoned);
        let Plan { target, is_drop_in, changes } = match plan {
            Ok(plan) => plan,
            Err(why) => return Ok(State::Waiting { why }),
        };
        if self.was_installed && !changes.is_empty() {
            if let Some(until) = self.backoff.until(now) {
                let why = format!(
                    "somebody else keeps writing {}: our entry is put back in {} s",
                    harmless_path(changes[0].path()),
                    until.duration_since(now).as_secs() + 1
                );
                return Ok(State::Waiting { why });
            }
            self.backoff.written(now);
        }
        let is_changed = !changes.is_empty();
        for change in changes {
            let path = change.path().to_owned();
            if let Err(error) = self.apply(change) {
                return match error.downcast::<Meanwhile>() {
                    Ok(meanwhile) => Ok(State::Waiting { why: meanwhile.to_string() }),
                    Err(error) => Err(error.context("install the CNI plugin's entry")),
                };
            }
            if self.was_installed && path == target {
                tracing::warn!("sidestep's entry was not in {} any more, and is again", harmless_path(&path));
                *self.repairs.entry(path).or_default() += 1;
            }
        }
        if is_drop_in && (is_changed || !self.is_known) {
            self.nudge()?;
        }
        self.is_known = true;
        self.was_installed = true;
        Ok(State::Installed { file: target })
    }

    /// Has the runtime look at its networks again.
    ///
    /// # Errors
    /// When a file cannot be made and removed in their directory.
    pub fn nudge(&mut self) -> Result<()> {
        self.disk.nudge(&self.paths.networks).context("have the runtime look again")
    }

    /// Takes our entry out of every list. Pods start and stop while the binary is there, whatever the runtime
    /// has read.
    ///
    /// # Errors
    /// When that cannot be done now. It can be tried again, from wherever it came to.
    pub fn take_out(&mut self) -> Result<()> {
        self.was_installed = false;
        self.tidy()?;
        let look = Look::at(&self.paths.networks)?;
        let changes = plan::take_out(&look).map_err(anyhow::Error::msg)?;
        for change in changes {
            self.apply(change).context("take the CNI plugin's entry out")?;
        }
        // One of ours may be empty since an agent was killed.
        for directory in plan::drop_in_directories(&look, &self.paths.networks) {
            self.disk.remove_directory_if_empty(&directory)?;
        }
        self.nudge()
    }

    /// Removes the binary: after [`Self::take_out`], and after the runtime has said that its list is without
    /// us.
    ///
    /// # Errors
    /// When a list still names it, or it cannot be removed.
    pub fn remove_binary(&mut self) -> Result<()> {
        let look = Look::at(&self.paths.networks)?;
        if let Some(change) = plan::take_out(&look).map_err(anyhow::Error::msg)?.first() {
            bail!(
                "{} still names {}: with the binary gone no pod would start",
                harmless_path(change.path()),
                harmless_path(self.binary.target())
            );
        }
        self.disk.tidy(&self.paths.plugins)?;
        self.binary.remove(&mut self.disk)
    }

    fn apply(&mut self, change: Change) -> Result<()> {
        let directory = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
        match change {
            Change::Write { path, was, text, like } => {
                let directory = directory(&path);
                if directory != self.paths.networks {
                    self.disk.make_directory(&directory)?;
                }
                self.disk.replace(&path, was.as_deref(), &text, like)
            }
            Change::Remove { path } => {
                self.disk.remove(&path)?;
                let directory = directory(&path);
                if directory == self.paths.networks {
                    return Ok(());
                }
                self.disk.remove_directory_if_empty(&directory)
            }
        }
    }

    /// What an agent that was killed has left, in every directory that we write to.
    fn tidy(&mut self) -> Result<()> {
        let drop_ins = look::directories(&self.paths.networks)?;
        for directory in [&self.paths.plugins, &self.paths.networks].into_iter().chain(&drop_ins) {
            self.disk.tidy(directory)?;
        }
        Ok(())
    }

    fn remember_unparsable(&mut self, look: &Look, now: Instant) {
        let unparsable = look.files.iter().filter_map(|found| match &found.content {
            Content::Unparsable { text, .. } => Some((&found.path, &text.text)),
            Content::Read(_) | Content::Refused(_) => None,
        });
        let known = std::mem::take(&mut self.unparsable);
        self.unparsable = unparsable
            .map(|(path, text)| {
                let since = known.get(path).filter(|(was, _)| was == text).map_or(now, |(_, since)| *since);
                (path.clone(), (text.clone(), since))
            })
            .collect();
    }
}

#[cfg(test)]
mod tests;
