//! A workload that another layout's build has attached. It is enrolled beside what is there: the older programs run
//! first, and what they have turned to the sidecar the newer ones leave alone. Then what turns goes, what is remembered of
//! sockets is copied, and the rest goes.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use proxy_common::{
    names::{map, program},
    wire::role,
};

use super::{
    bpffs,
    kept::Kept,
    layout::layout,
    node_pins,
    pins::{self, WorkloadPins, open_map},
    shares, socket_states,
};
use crate::{
    netns::{Netns, open_sockets},
    sys::bpf_map_elem,
};

/// Layouts since this one have slots: a workload keeps its own from one to the next.
const FIRST_WITH_SLOTS: u32 = 7;
/// Connections that the older programs have turned and nobody has accepted yet.
const DRAINED_WITHIN: Duration = Duration::from_millis(300);
/// What turns connections to the sidecar.
const TURNING: [&str; 5] =
    [program::CONNECT4, program::CONNECT6, program::SENDMSG4, program::SENDMSG6, program::INBOUND];
const OLD: &str = "-old";

/// One that is to be taken over.
#[derive(Clone)]
pub(super) struct Earlier {
    kept: Kept,
    dir: PathBuf,
    aside: PathBuf,
}

impl Earlier {
    /// None: it is not there, or of this layout.
    pub(super) fn of(pins: &WorkloadPins) -> Option<Self> {
        let kept = Kept::read(pins).ok().filter(|kept| kept.layout != layout())?;
        Some(Self { kept, dir: pins.dir().to_owned(), aside: aside(pins) })
    }

    /// What is known of it.
    pub(super) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The slot it has to keep: the map of slots is every layout's.
    pub(super) fn slot(&self) -> Option<u32> {
        (self.kept.layout >= FIRST_WITH_SLOTS).then_some(self.kept.slot)
    }

    /// Makes room for the new pins.
    pub(super) fn step_aside(&self) -> Result<()> {
        rename(&self.dir, &self.aside)
    }

    pub(super) fn step_back(&self) -> Result<()> {
        rename(&self.aside, &self.dir)
    }

    /// The new one captures.
    pub(super) fn finish(&self, netns: &Netns, node_dir: &Path) -> Result<()> {
        remove_links(&self.aside, |name| TURNING.contains(&name))?;
        self.drain();
        self.copy_sockets(netns, node_dir)?;
        clear(&self.aside)?;
        remove_unused_layouts()
    }

    /// Where the maps are pinned that it keeps its state in.
    fn state_dir(&self) -> PathBuf {
        if self.kept.layout < FIRST_WITH_SLOTS { self.aside.clone() } else { self.node() }
    }

    fn node(&self) -> PathBuf {
        bpffs::root().join(format!("node{}", self.kept.layout))
    }

    /// Waits for those that are between SYN and accept.
    fn drain(&self) {
        let deadline = Instant::now() + DRAINED_WITHIN;
        while Instant::now() < deadline && self.has_pending().unwrap_or(false) {
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn has_pending(&self) -> Result<bool> {
        if self.kept.layout >= FIRST_WITH_SLOTS {
            return Ok(shares::of(&self.node(), self.kept.slot)?.pending != 0);
        }
        let pending = open_map(&self.aside, map::PENDING)?;
        const KEY: usize = 36;
        let mut any = false;
        bpf_map_elem::each_key(pending.as_fd(), KEY, 1, |_| {
            any = true;
            Ok(())
        })?;
        Ok(any)
    }

    /// Where sockets wanted to go, for who asks later.
    fn copy_sockets(&self, netns: &Netns, node_dir: &Path) -> Result<()> {
        let (old, mut new) = (socket_states::open(&self.state_dir())?, socket_states::open(node_dir)?);
        for socket in open_sockets(Some(netns))? {
            // Of a process that has ended, or is not ours to look into.
            let Ok(copy) = socket.borrow() else { continue };
            let fd = copy.as_fd();
            let Ok(state) = old.get(&fd, 0) else { continue };
            let known = new.get(&fd, 0).is_ok_and(|state| state.0.role != role::NONE);
            if state.0.role != role::NONE && !known {
                new.insert(&fd, state, 0).context("copy what is remembered of a socket")?;
            }
        }
        Ok(())
    }
}

/// Takes away what a takeover left that was killed halfway, after the new one was there.
pub(super) fn clear_aside(pins: &WorkloadPins) -> Result<()> {
    let aside = aside(pins);
    if aside.exists() { clear(&aside) } else { Ok(()) }
}

fn aside(pins: &WorkloadPins) -> PathBuf {
    bpffs::root().join(format!("{}{OLD}", pins.name()))
}

/// All links, those that turn first, and the pins.
pub(super) fn clear(dir: &Path) -> Result<()> {
    remove_links(dir, |name| TURNING.contains(&name))?;
    remove_links(dir, |_| true)?;
    pins::remove(dir)
}

fn remove_links(dir: &Path, meant: impl Fn(&str) -> bool) -> Result<()> {
    for path in pins::entries(dir)? {
        let name = pins::name_of(&path).and_then(|name| name.strip_prefix("link_"));
        if name.is_some_and(&meant) {
            pins::remove_link(&path)?;
        }
    }
    Ok(())
}

/// Slots of workloads that other layouts have.
pub(super) fn slots_elsewhere() -> Result<BTreeSet<u32>> {
    if layouts()?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let others = WorkloadPins::all()?.into_iter().filter_map(|pins| Kept::read(&pins).ok());
    Ok(others
        .filter(|kept| kept.layout != layout() && kept.layout >= FIRST_WITH_SLOTS)
        .map(|kept| kept.slot)
        .collect())
}

/// Those other than this one that have shared pins here.
fn layouts() -> Result<Vec<u32>> {
    let number = |path: &PathBuf| pins::name_of(path)?.strip_prefix("node")?.parse::<u32>().ok();
    let found = pins::entries(&bpffs::root())?;
    Ok(found.iter().filter_map(number).filter(|found| *found != layout()).collect())
}

/// What a layout's workloads shared goes with the last of them.
pub(super) fn remove_unused_layouts() -> Result<()> {
    for old in layouts()? {
        let used =
            WorkloadPins::all()?.iter().any(|pins| Kept::read(pins).is_ok_and(|kept| kept.layout == old));
        if !used {
            node_pins::remove_shared(&bpffs::root().join(format!("node{old}")))?;
        }
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("rename {} to {}", from.display(), to.display()))
}
