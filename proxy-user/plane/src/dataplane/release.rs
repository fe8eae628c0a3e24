//! Release: no link, rule, entry or pin of the workload stays. Established connections live on: their sockets are
//! connected to the sidecar, whatever becomes of the programs.

use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use anyhow::{Context, Result};
use proxy_common::{
    accel::{EndEntry, EndKey},
    flow::{PeerKey, ToldPeer},
    names::map,
    wire::ConnectionKey,
    workload::{Workload, state, tables_of},
};

use super::{
    accelerated, bpffs, guests,
    hooks::HOOKS,
    kept::Kept,
    late_listeners,
    layout::layout,
    lock::Lock,
    meta::Meta,
    node_pins, observation, passthrough6,
    pins::{self, WorkloadPins, map_in, open_map},
    recorded,
    rules::Rules,
    shares, sweep, takeover,
    workloads::Workloads,
};
use crate::sys::bpf_map_elem;

/// Detaches the workload of a namespace, with a cgroup given only if that is its own. The cgroup is compared by path:
/// it may be gone. Returns which there were.
pub fn detach(netns_inode: u64, cgroup: Option<&Path>) -> Result<Vec<WorkloadPins>> {
    let same = |pins: &WorkloadPins, cgroup: &Path| {
        Meta::read(&pins.map(map::META)).is_ok_and(|meta| meta.cgroup_path == cgroup)
            || fs::metadata(cgroup).is_ok_and(|meta| meta.ino() == pins.cgroup_id())
    };
    detach_those(|pins| pins.netns_inode() == netns_inode && cgroup.is_none_or(|cgroup| same(pins, cgroup)))
}

/// Detaches these workloads, whatever has become of their namespaces. Returns which were still there.
pub fn detach_these(these: &[WorkloadPins]) -> Result<Vec<WorkloadPins>> {
    detach_those(|pins| these.contains(pins))
}

fn detach_those(meant: impl Fn(&WorkloadPins) -> bool) -> Result<Vec<WorkloadPins>> {
    bpffs::require()?;
    let Some(_lock) = Lock::take(&bpffs::root())? else { return Ok(Vec::new()) };
    let mut found = WorkloadPins::all()?;
    found.retain(|pins| meant(pins));
    if found.is_empty() {
        return Ok(found);
    }
    for pins in &found {
        workload(pins, None)?;
    }
    remove_if_unused()?;
    Ok(found)
}

/// Detaches every workload of this node.
pub fn detach_all() -> Result<Vec<WorkloadPins>> {
    bpffs::require()?;
    let _lock = Lock::take(&bpffs::root())?;
    let found = WorkloadPins::all()?;
    for pins in &found {
        workload(pins, None)?;
    }
    remove_if_unused()?;
    // Also what an attach left that was killed halfway.
    pins::remove(&bpffs::root())?;
    Ok(found)
}

/// Takes a workload out, as much of it as there is. `why`: where nobody has asked for it.
pub(super) fn workload(pins: &WorkloadPins, why: Option<&str>) -> Result<()> {
    let node_dir = node_pins::dir();
    let was_there = pins.exists();
    let kept = Kept::read(pins).ok();
    if kept.as_ref().is_some_and(|kept| kept.layout != layout()) {
        takeover::clear(pins.dir())?;
    }
    takeover::clear_aside(pins)?;
    let meta = Meta::read(&pins.map(map::META)).ok();
    let table = Workloads::if_there(&node_dir)?;
    let slot = table.as_ref().and_then(|table| Some((table, table.slot_of(pins)?)));
    if let Some((table, slot)) = slot {
        // From here on nothing new is captured.
        table.set(slot, &Workload { state: state::ANSWERS, ..table.get(slot) })?;
        let addresses = meta.as_ref().map_or(&[][..], |meta| &meta.addresses);
        accelerated::switch_off(&node_dir, slot, addresses)?;
    }
    remove_links(pins)?;
    if let Some((table, slot)) = slot {
        forget(&node_dir, table, slot, meta.as_ref())?;
    }
    // While the pins still tell of it.
    let passthrough6 =
        kept.filter(|kept| kept.added_passthrough6).map_or(Ok(()), |kept| passthrough6::remove(&kept));
    pins::remove(pins.dir())?;
    pins::remove(&pins.staging())?;
    if let Some((table, slot)) = slot {
        // As long as there are pins, their slot is nobody else's.
        table.set(slot, &Workload::default())?;
    }
    if was_there {
        recorded::released(pins, meta.as_ref(), why);
    }
    passthrough6?;
    takeover::remove_unused_layouts()
}

/// What redirects goes first, what answers questions last: the reverse of attaching.
fn remove_links(pins: &WorkloadPins) -> Result<()> {
    for dir in [pins.dir(), &pins.staging()] {
        guests::remove(dir)?;
        for hook in HOOKS.iter().rev() {
            let path = pins::link_in(dir, hook.program);
            if path.exists() {
                pins::remove_link(&path)?;
            }
        }
    }
    Ok(())
}

/// Everything that is found under its slot, which stays taken.
fn forget(node_dir: &Path, table: &Workloads, slot: u32, meta: Option<&Meta>) -> Result<()> {
    let was = table.get(slot);
    set_slot(was.cgroup, 0)?;
    late_listeners::clear(node_dir, slot)?;
    for name in [map::INBOUND, map::GUEST_IN, map::GUEST_OUT] {
        if map_in(node_dir, name).exists() {
            bpf_map_elem::clear(open_map(node_dir, name)?.as_fd(), slot)
                .with_context(|| format!("forget the program in {name}"))?;
        }
    }
    guests::forget_flows(node_dir, slot)?;
    let rules = Rules::open(node_dir)?;
    match meta.filter(|meta| meta.layout == layout() && meta.slot == slot) {
        Some(meta) => {
            rules.remove(meta.tables, &meta.compiled())?;
            guests::forget(node_dir, slot, meta.interfaces.iter().map(|(index, _)| *index))?;
            // Of an update that was killed halfway there may be more.
            if was.tables != meta.tables {
                sweep::rules(node_dir, tables_of(slot))?;
            }
        }
        None => sweep::rules(node_dir, tables_of(slot))?,
    }
    observation::forget(node_dir, slot)?;
    forget_connections(node_dir, slot)
}

/// Those that were under way, or in the acceleration's map, when their programs went.
fn forget_connections(node_dir: &Path, slot: u32) -> Result<()> {
    let share = shares::of(node_dir, slot)?;
    if share.pending != 0 {
        sweep::entries::<ConnectionKey, ()>(node_dir, map::PENDING, |key, ()| key.slot == slot)?;
    }
    if share.sockets != 0 {
        sweep::entries::<EndKey, EndEntry>(node_dir, map::ENDS, |_, entry| {
            u32::from(entry.end.slot) == slot
        })?;
    }
    if share.peers != 0 {
        sweep::entries::<PeerKey, ToldPeer>(node_dir, map::FLOW_PEERS, |_, told| {
            told.tenancy as u32 == slot
        })?;
    }
    shares::reset(node_dir, slot)
}

/// Whose calls the cgroup's are; 0: nobody's. A cgroup that is gone, or never had a link, has nothing to set.
pub(super) fn set_slot(cgroup: u64, number: u64) -> Result<()> {
    let slots = open_map(&pins::slots_dir(&bpffs::root()), map::SLOT)?;
    match bpf_map_elem::update(slots.as_fd(), &cgroup.to_ne_bytes(), &number.to_ne_bytes(), 0) {
        Err(error) if number == 0 && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.context("tell the cgroup its slot"),
    }
}

/// Removes what workloads share, unless there are workloads or somebody holds it.
pub(super) fn remove_if_unused() -> Result<()> {
    if !WorkloadPins::all()?.is_empty() {
        return Ok(());
    }
    if let Some(table) = Workloads::if_there(&node_pins::dir())? {
        remains(&table)?;
    }
    takeover::remove_unused_layouts()?;
    if node_pins::is_held(&node_pins::dir())? {
        return Ok(());
    }
    node_pins::remove_shared(&node_pins::dir())?;
    let root = bpffs::root();
    pins::remove(&pins::slots_dir(&root))?;
    // It stays as long as there is anything else in it.
    let _ = fs::remove_dir(root);
    Ok(())
}

/// What is left of workloads whose enrolment or release was killed halfway. The lock is held, so that nobody is at it.
pub(super) fn remains(table: &Workloads) -> Result<()> {
    let left: Vec<Workload> =
        table.taken().map(|(_, found)| found).filter(|found| found.state != state::CAPTURES).collect();
    for found in left {
        let pins = WorkloadPins::of_entry(&found);
        tracing::warn!(workload = pins.name(), "what a killed attach or detach left is cleared away");
        workload(&pins, Some("an attach or a detach of it was killed"))?;
    }
    Ok(())
}
