//! The observation of a workload's connections: whether it is possible, what it keeps with the node, and where readers
//! find that.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, MapInfo, SkStorage},
    util::nr_cpus,
};
use nix::fcntl::{Flock, FlockArg};
use proxy_common::{
    flow::{Class, FlowRecord, OpenKey, OpenTotals, Totals, Turnarounds, flow_flag, totals_key, turn_key},
    names::{map, program},
};
use proxy_core::config::Observe;

use super::{
    known::Known,
    late_listeners, node_pins, object,
    patience::patiently,
    pins::{self, map_in},
    questions,
    refused::{Refused, Step},
    wire::{self, Raw},
};
use crate::{
    netns::{self, Netns},
    sys::{
        bpf_entries::{self, Sizes},
        bpf_map_elem, bpf_pin, bpf_test_run,
    },
};

const BPF_NOEXIST: u64 = 1;

/// What is done about it.
pub(super) struct Observation {
    /// Why not, if not.
    pub(super) reason: Option<String>,
    /// By the user.
    switched_off: bool,
}

impl Observation {
    pub(super) fn plan(wanted: Observe, known: &Known) -> Self {
        match (&known.flow, wanted) {
            (_, Observe::Off) => {
                Self { switched_off: true, ..Self::not("switched off (--observe off)".to_owned()) }
            }
            (Err(reason), Observe::On) => Self::not(reason.clone()),
            (Ok(_), Observe::On) => Self::on(),
        }
    }

    pub(super) const fn on() -> Self {
        Self { reason: None, switched_off: false }
    }

    pub(super) const fn not(reason: String) -> Self {
        Self { reason: Some(reason), switched_off: false }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.reason.is_none()
    }

    /// Why nothing is observed though the user wants it.
    pub(super) fn missing(&self) -> Option<&str> {
        self.reason.as_deref().filter(|_| !self.switched_off)
    }
}

/// What readers run.
pub(super) fn install(ebpf: &mut Ebpf, dir: &Path) -> Result<()> {
    [program::FLOW_LIST, program::FLOW_SUM].into_iter().try_for_each(|name| install_reader(ebpf, dir, name))
}

/// Makes a workload's sums; `anew`: from zero.
pub(super) fn begin(dir: &Path, slot: u32, anew: bool) -> Result<()> {
    let totals = pins::open_map(dir, map::FLOW_TOTALS)?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    let zeros = vec![0; size_of::<Totals>().next_multiple_of(8) * cpus];
    let flags = if anew { 0 } else { BPF_NOEXIST };
    if anew {
        forget_measured(dir, slot)?;
    }
    for class in Class::ALL {
        let key = totals_key(slot, *class).to_ne_bytes();
        match patiently(|| bpf_map_elem::update(totals.as_fd(), &key, &zeros, flags)) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            other => other.context("make the sums of the workload's flows")?,
        }
    }
    Ok(())
}

/// What readers run is in a directory of its own, whose lock they take.
fn readers_in(dir: &Path) -> PathBuf {
    dir.join("flows")
}

fn install_reader(ebpf: &mut Ebpf, dir: &Path, name: &'static str) -> Result<()> {
    let program = object::load_program(ebpf, name)?;
    // A kernel may take a program and not let it run; this run finds nothing asked for.
    bpf_test_run::classifier(program, 1).map_err(|error| Refused::to(Step::Run, name, error))?;
    let dir = readers_in(dir);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let (path, new) = (pins::program_in(&dir, name), pins::program_in(&dir, &format!("{name}_new")));
    // Of an attach that was killed halfway.
    let _ = fs::remove_file(&new);
    bpf_pin::pin(program, &new).with_context(|| format!("pin {}", new.display()))?;
    fs::rename(&new, &path).with_context(|| format!("rename to {}", path.display()))
}

/// A workload that goes takes its sums with it.
pub(super) fn forget(dir: &Path, slot: u32) -> Result<()> {
    if !map_in(dir, map::FLOW_TOTALS).exists() {
        return Ok(());
    }
    let totals = pins::open_map(dir, map::FLOW_TOTALS)?;
    for class in Class::ALL {
        // Absent if it was not observed.
        bpf_map_elem::delete(totals.as_fd(), &totals_key(slot, *class).to_ne_bytes())
            .context("remove the sums of the workload's flows")?;
    }
    forget_measured(dir, slot)
}

/// Programs make turnarounds when there is one.
fn forget_measured(dir: &Path, slot: u32) -> Result<()> {
    let turnarounds = pins::open_map(dir, map::TURNAROUNDS)?;
    for class in Class::ALL {
        for is_server in [false, true] {
            bpf_map_elem::delete(turnarounds.as_fd(), &turn_key(slot, *class, is_server).to_ne_bytes())
                .context("remove the workload's turnarounds")?;
        }
    }
    questions::forget(dir, slot)
}

/// Listeners that are there already are marked with their process, for what they accept from now on.
pub(super) fn mark_listeners(netns: &Netns, dir: &Path) -> Result<()> {
    let data = pins::pinned(dir, map::FLOWS)?;
    let mut flows: SkStorage<MapData, Raw<FlowRecord>> = SkStorage::try_from(Map::SkStorage(data))?;
    for (_, found) in late_listeners::borrow(netns, &netns::listeners(Some(netns))?)? {
        // Of a process that is not visible here.
        let Ok(Some((pid, socket))) = found else { continue };
        let Ok(name) = fs::read(format!("/proc/{pid}/comm")) else { continue };
        let Ok(process) = fs::metadata(format!("/proc/{pid}")) else { continue };
        let mut record = FlowRecord { flags: flow_flag::LISTENER, ..FlowRecord::EMPTY };
        record.pid = u32::try_from(pid).unwrap_or(0);
        record.uid = process.uid();
        let name = name.strip_suffix(b"\n").unwrap_or(&name);
        let len = name.len().min(15);
        record.comm[..len].copy_from_slice(&name[..len]);
        flows.insert(&socket.as_fd(), Raw(record), 0).context("mark a listener")?;
    }
    Ok(())
}

/// Whether any workload is or was observed.
pub(crate) fn is_observed() -> bool {
    pins::program_in(&readers_in(&node_pins::dir()), program::FLOW_LIST).exists()
}

/// What a reader of open connections works with.
pub(crate) struct Reading {
    /// Held: the maps below are for one reader at a time.
    _turn: Flock<File>,
    pub(crate) program: OwnedFd,
    /// Open ends, and which places are free.
    pub(crate) live: MapData,
    pub(crate) places: MapData,
    /// Which ends are asked for, and what there is to say of each.
    pub(crate) listed: MapData,
    pub(crate) head: Array<MapData, u64>,
}

impl Reading {
    /// With the program of this name; waits for its turn. None: nothing is observed.
    pub(crate) fn with(name: &str) -> Result<Option<Self>> {
        if !is_observed() {
            return Ok(None);
        }
        let dir = node_pins::dir();
        let readers = readers_in(&dir);
        let file = File::open(&readers).with_context(|| format!("open {}", readers.display()))?;
        let turn = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("lock {}", readers.display()))?;
        let pin = pins::program_in(&readers, name);
        Ok(Some(Self {
            _turn: turn,
            program: bpf_pin::open(&pin).with_context(|| format!("open {}", pin.display()))?,
            live: pins::pinned(&dir, map::LIVE)?,
            places: pins::pinned(&dir, map::LIVE_PLACES)?,
            listed: pins::pinned(&dir, map::LISTED)?,
            head: Array::try_from(Map::Array(pins::pinned(&dir, map::LISTED_HEAD)?))
                .context("open the list's head")?,
        }))
    }
}

/// The journal's head and entries.
pub(crate) fn journal_pins() -> Result<(MapData, MapData)> {
    let dir = node_pins::dir();
    Ok((pins::pinned(&dir, map::JOURNAL_HEAD)?, pins::pinned(&dir, map::JOURNAL)?))
}

/// Each workload's own last entries.
pub(crate) fn kept_pin() -> Result<MapData> {
    pins::pinned(&node_pins::dir(), map::KEPT)
}

pub(crate) type OpenTotalsMap = HashMap<MapData, Raw<OpenKey>, Raw<OpenTotals>>;

/// Where open flows are added up.
pub(crate) fn open_sums() -> Result<OpenTotalsMap> {
    let data = pins::pinned(&node_pins::dir(), map::OPEN_TOTALS)?;
    HashMap::try_from(Map::HashMap(data)).context("open the sums of open flows")
}

/// Calls `visit` with the key and the sums of each class of each workload that was in use, once for each processor that saw
/// it. False: nothing is observed.
pub(crate) fn each_totals(mut visit: impl FnMut(u32, &Totals)) -> Result<bool> {
    if !is_observed() {
        return Ok(false);
    }
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    let of_one = size_of::<Totals>().next_multiple_of(8);
    let info = MapInfo::from_pin(map_in(&node_pins::dir(), map::FLOW_TOTALS))?;
    let sizes = Sizes { key: size_of::<u32>(), value: of_one * cpus, capacity: info.max_entries() };
    bpf_entries::each(info.fd()?.as_fd(), sizes, |key, values| {
        let Ok(key) = key.try_into().map(u32::from_ne_bytes) else { return };
        values
            .chunks_exact(of_one)
            // Most are.
            .filter(|value| value.iter().any(|byte| *byte != 0))
            .filter_map(|value| wire::value(&value[..size_of::<Totals>()]))
            .for_each(|totals| visit(key, &totals));
    })
    .context("read the sums of the flows")?;
    Ok(true)
}

pub(crate) type TurnaroundsMap = HashMap<MapData, u32, Raw<Turnarounds>>;

/// Turnarounds of all workloads: of each end of a class that has answered.
pub(crate) fn open_turnarounds() -> Result<TurnaroundsMap> {
    let data = pins::pinned(&node_pins::dir(), map::TURNAROUNDS)?;
    HashMap::try_from(Map::HashMap(data)).context("open the turnarounds")
}
