//! What all workloads of a node share: the sockets of the acceleration and the program that moves their data.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    net::IpAddr,
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use nix::fcntl::{Flock, FlockArg};
use proxy_common::{
    accel::{EndKey, Executable, Reason, SLOTS, Server, Switch, counter_index, end_flag},
    addr::Addr,
    names::{map, program},
};

use super::{
    bpffs,
    meta::Meta,
    object,
    pins::{self, WorkloadPins, map_in},
    readers::{self, Programs},
    wire::Raw,
};
use crate::sys::{bpf_attach, bpf_map};

/// Held while pins are changed: attaches and detaches of one node take turns.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl Lock {
    /// Makes the root if there is none; the last detach may remove it at any time, but not while the lock is held.
    pub(super) fn take_making_root() -> Result<(PathBuf, Self)> {
        loop {
            let root = bpffs::ensure_root()?;
            if let Some(lock) = Self::take(&root)? {
                return Ok((root, lock));
            }
        }
    }

    /// None if there is no root, or none any more.
    pub(super) fn take(root: &Path) -> Result<Option<Self>> {
        let dir = match File::open(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("open {}", root.display()))?,
        };
        let lock = match Flock::lock(dir, FlockArg::LockExclusive) {
            Ok(lock) => lock,
            Err((_, error)) => return Err(error).with_context(|| format!("lock {}", root.display())),
        };
        let held = lock.metadata().with_context(|| format!("stat {}", root.display()))?;
        let there = fs::metadata(root).is_ok_and(|now| now.ino() == held.ino());
        Ok(there.then_some(Self(lock)))
    }
}

pub(super) fn dir() -> PathBuf {
    // Another layout is another directory: a build that does not know it must not use its maps.
    bpffs::root().join(format!("node{}", Meta::LAYOUT))
}

pub(super) fn ensure_dir() -> Result<PathBuf> {
    let dir = dir();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// The workload's slot if it has one, else a free one.
pub(super) fn slot_for(pins: &WorkloadPins) -> Result<u32> {
    let mut taken = BTreeSet::new();
    for other in WorkloadPins::all()? {
        let Ok(meta) = Meta::read(&other.map(map::META)) else { continue };
        if other == *pins {
            return Ok(meta.slot);
        }
        taken.insert(meta.slot);
    }
    match (0..SLOTS).find(|slot| !taken.contains(slot)) {
        Some(slot) => Ok(slot),
        None => bail!("{SLOTS} workloads are attached on this node, no more fit"),
    }
}

/// Puts this build's program in the place of the one that runs, for live sockets too.
pub(super) fn install(ebpf: &mut Ebpf, dir: &Path) -> Result<()> {
    let table = pinned(dir, map::DISPATCH)?;
    let redirect = object::load_program(ebpf, program::REDIRECT)?;
    bpf_map::set_fd(table.fd().as_fd(), 0, redirect).context("install the sk_msg program")?;
    let sockets = pinned(dir, map::SOCKS)?;
    let dispatch = object::load_program(ebpf, program::DISPATCH)?;
    bpf_attach::sk_msg_verdict(dispatch, sockets.fd().as_fd()).context("attach the sk_msg program")
}

/// A slot that is given out again starts from zero.
pub(super) fn reset_counters(dir: &Path, slot: u32) -> Result<()> {
    let mut counters: PerCpuArray<MapData, u64> =
        PerCpuArray::try_from(Map::PerCpuArray(pinned(dir, map::ACCEL_COUNTERS)?))
            .context("open the counters")?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    for reason in Reason::ALL {
        let index = counter_index(slot, *reason);
        for index in [index, index + 1] {
            counters.set(index, PerCpuValues::try_from(vec![0; cpus])?, 0).context("reset a counter")?;
        }
    }
    Ok(())
}

/// Sets the workload's switch and makes its addresses known.
pub(super) fn switch_on(dir: &Path, slot: u32, switch: Switch, addresses: &[IpAddr]) -> Result<()> {
    set_switch(dir, slot, switch)?;
    let mut known = addresses_of(dir)?;
    for ip in addresses {
        known.insert(Raw(Addr::from(*ip)), 1u8, 0).with_context(|| format!("publish the address {ip}"))?;
    }
    Ok(())
}

/// Live flows go on over the stack, from the next message on.
pub(super) fn switch_off(pins: &WorkloadPins) -> Result<()> {
    let dir = dir();
    let Ok(meta) = Meta::read(&pins.map(map::META)) else { return Ok(()) };
    if !map_in(&dir, map::SWITCHES).exists() {
        return Ok(());
    }
    disable(&dir, meta.slot)?;
    let others: BTreeSet<IpAddr> = WorkloadPins::all()?
        .iter()
        .filter(|other| *other != pins)
        .filter_map(|other| Meta::read(&other.map(map::META)).ok())
        .flat_map(|meta| meta.addresses)
        .collect();
    let mut known = addresses_of(&dir)?;
    for ip in meta.addresses.iter().filter(|ip| !others.contains(ip)) {
        // Absent if the attach was cut short.
        let _ = known.remove(&Raw(Addr::from(*ip)));
    }
    Ok(())
}

/// Without workloads nothing is shared.
pub(super) fn remove_if_unused() -> Result<()> {
    if !WorkloadPins::all()?.is_empty() {
        return Ok(());
    }
    let dir = dir();
    if let Ok(table) = pinned(&dir, map::DISPATCH) {
        // Sockets keep the map's program, which then has nothing to pass on to.
        let _ = bpf_map::delete(table.fd().as_fd(), 0);
    }
    pins::remove(&dir)
}

/// What the user's word stands for.
const VOUCHED: u32 = end_flag::TRUSTED | end_flag::DRAINS;

/// Makes the programs known that read what they are sent, and those unknown again that turned out not to.
pub(super) fn trust(dir: &Path, programs: &Programs, vouched: &[Executable]) -> Result<()> {
    let mut readers: HashMap<MapData, Raw<Executable>, u8> =
        HashMap::try_from(Map::HashMap(pinned(dir, map::READERS)?)).context("open the readers")?;
    for (ino, dev) in programs.hazardous.keys() {
        // Absent, but for a build that found it safe.
        let _ = readers.remove(&Raw(Executable { ino: *ino, dev: *dev, reserved: 0 }));
    }
    let safe = programs.safe.iter().map(|(ino, dev)| Executable { ino: *ino, dev: *dev, reserved: 0 });
    let vouched = vouched_by_others()?.into_iter().chain(vouched.iter().copied());
    let found = safe.map(|program| (program, end_flag::TRUSTED));
    // The latter last: they may be the same.
    for (program, flags) in found.chain(vouched.map(|program| (program, VOUCHED))) {
        readers.insert(Raw(program), flags as u8, 0).context("store a reader")?;
    }
    // Servers that stayed out may come in now.
    let mut servers: HashMap<MapData, Raw<EndKey>, Raw<Server>> =
        HashMap::try_from(Map::LruHashMap(pinned(dir, map::SERVERS)?)).context("open the servers")?;
    let known: Vec<_> = servers.keys().filter_map(Result::ok).collect();
    for server in known {
        // One that has aged out meanwhile is just as gone.
        let _ = servers.remove(&server);
    }
    Ok(())
}

/// Programs the attaches of other workloads have named.
fn vouched_by_others() -> Result<Vec<Executable>> {
    let metas = WorkloadPins::all()?.into_iter().filter_map(|pins| Meta::read(&pins.map(map::META)).ok());
    let named = metas.flat_map(|meta| meta.acceleration.trusted);
    Ok(named.filter_map(|path| readers::program(&path).ok()).collect())
}

/// The limit stays: redirected bytes that wait are followed by others until they are read.
fn disable(dir: &Path, slot: u32) -> Result<()> {
    let mut switches = switches_of(dir)?;
    let old = switches.get(&slot, 0).context("read the workload's switch")?.0;
    switches.set(slot, Raw(Switch { enabled: 0, ..old }), 0).context("set the workload's switch")
}

fn switches_of(dir: &Path) -> Result<Array<MapData, Raw<Switch>>> {
    Array::try_from(Map::Array(pinned(dir, map::SWITCHES)?)).context("open the switches")
}

fn set_switch(dir: &Path, slot: u32, switch: Switch) -> Result<()> {
    switches_of(dir)?.set(slot, Raw(switch), 0).context("set the workload's switch")
}

fn addresses_of(dir: &Path) -> Result<HashMap<MapData, Raw<Addr>, u8>> {
    HashMap::try_from(Map::HashMap(pinned(dir, map::LOCAL_ADDRS)?)).context("open the addresses")
}

pub(super) fn pinned(dir: &Path, name: &str) -> Result<MapData> {
    let path = map_in(dir, name);
    MapData::from_pin(&path).with_context(|| format!("open {}", path.display()))
}
