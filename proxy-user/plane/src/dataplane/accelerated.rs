//! What the acceleration keeps of a workload in the maps of the node.

use std::{io, net::IpAddr, ops::Range, os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result, anyhow};
use aya::{
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use proxy_common::{
    accel::{
        ACCELERATED, Connections, DEFAULT_LIMIT, Executable, Reason, SERVER_SETS, Servers, Switch,
        counter_index, end_flag,
    },
    addr::Addr,
    names::map,
};

use super::{
    patience::patiently,
    pins::{map_in, open_map, pinned},
    readers::{Programs, TRUSTED_ANYWAY},
    wire::{Raw, bytes},
};
use crate::sys::{bpf_map_elem, bpf_mmap::Mapping};

/// A slot that is given out again starts with its switch off, and from zero. The switch comes first: it tells the sockets
/// that are still in the map from the new workload's, by the number.
pub(super) fn begin(dir: &Path, slot: u32, number: u32) -> Result<()> {
    let off = Switch { enabled: 0, limit: DEFAULT_LIMIT, flags: 0, number, paused_until: 0 };
    switches(dir)?.set(slot, Raw(off), 0).context("set the workload's switch")?;
    let mut counters: PerCpuArray<MapData, u64> =
        PerCpuArray::try_from(Map::PerCpuArray(pinned(dir, map::ACCEL_COUNTERS)?))
            .context("open the counters")?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    for reason in Reason::ALL {
        let index = counter_index(slot, *reason);
        for index in index..index + 3 {
            counters.set(index, PerCpuValues::try_from(vec![0; cpus])?, 0).context("reset a counter")?;
        }
    }
    forget_servers(dir, slot..slot + 1)
}

/// Sets the workload's switch and makes its addresses known.
pub(super) fn switch_on(dir: &Path, slot: u32, switch: Switch, addresses: &[IpAddr]) -> Result<()> {
    change_switch(dir, slot, |old| {
        // A second attach ends no pause.
        let paused_until = if old.number == switch.number { old.paused_until } else { 0 };
        Switch { paused_until, ..switch }
    })?;
    publish(dir, slot, addresses, true)
}

/// Nothing of the workload is redirected until then, monotonic nanoseconds; 0: no pause, or none any more.
pub(super) fn pause(dir: &Path, slot: u32, until: u64) -> Result<()> {
    change_switch(dir, slot, |old| Switch { paused_until: until, ..old })
}

/// Makes its addresses known: what talks to them talks to a workload of this node, and may be accelerated if it is.
pub(super) fn publish(dir: &Path, slot: u32, addresses: &[IpAddr], accelerated: bool) -> Result<()> {
    let whose = (slot + 1) | if accelerated { ACCELERATED } else { 0 };
    let known = open_map(dir, map::LOCAL_ADDRS)?;
    for ip in addresses {
        let address = Addr::from(*ip);
        patiently(|| bpf_map_elem::update(known.as_fd(), bytes(&address), &whose.to_ne_bytes(), 0))
            .with_context(|| format!("publish the address {ip}"))?;
    }
    Ok(())
}

/// Live flows go on over the stack, from the next message on. The limit stays: redirected bytes that wait are followed
/// by others until they are read.
pub(super) fn switch_off(dir: &Path, slot: u32, addresses: &[IpAddr]) -> Result<()> {
    if !map_in(dir, map::SWITCHES).exists() {
        return Ok(());
    }
    change_switch(dir, slot, |old| Switch { enabled: 0, ..old })?;
    withdraw(dir, slot, addresses.iter())
}

/// Addresses that are the workload's no longer.
pub(super) fn withdraw<'a>(dir: &Path, slot: u32, addresses: impl Iterator<Item = &'a IpAddr>) -> Result<()> {
    let known = open_map(dir, map::LOCAL_ADDRS)?;
    for ip in addresses {
        let key = Addr::from(*ip);
        let mut whose = [0; 4];
        // Another workload may have the address by now.
        if bpf_map_elem::lookup(known.as_fd(), bytes(&key), &mut whose).context("look up an address")?
            && u32::from_ne_bytes(whose) & !ACCELERATED == slot + 1
        {
            bpf_map_elem::delete(known.as_fd(), bytes(&key)).context("withdraw an address")?;
        }
    }
    Ok(())
}

fn change_switch(dir: &Path, slot: u32, change: impl FnOnce(Switch) -> Switch) -> Result<()> {
    let mut switches = switches(dir)?;
    let old = switches.get(&slot, 0).context("read the workload's switch")?.0;
    switches.set(slot, Raw(change(old)), 0).context("set the workload's switch")
}

/// Switches of all workloads, by slot.
pub(super) fn switches(dir: &Path) -> Result<Array<MapData, Raw<Switch>>> {
    Array::try_from(Map::Array(pinned(dir, map::SWITCHES)?)).context("open the switches")
}

/// Makes the programs known that read what they are sent, and those unknown again that turned out not to.
pub(super) fn trust(dir: &Path, programs: &Programs, vouched: &[Executable]) -> Result<()> {
    let mut readers = Readers::open(dir)?;
    for (program, named) in &programs.hazardous {
        if programs.unclear.contains(program) {
            readers.forget(*program);
        } else {
            // Known, and nobody has to be asked again.
            readers.note(*program, named.flags())?;
        }
    }
    for program in &programs.safe {
        readers.note(*program, end_flag::TRUSTED)?;
    }
    // Programs look at these where the guard is.
    for (program, (flags, named)) in &programs.guarded {
        readers.note(*program, *flags | named.flags())?;
    }
    for program in vouched {
        readers.note(*program, TRUSTED_ANYWAY)?;
    }
    Ok(())
}

/// The workloads in these slots know nothing of servers any more.
pub(super) fn forget_servers(dir: &Path, slots: Range<u32>) -> Result<()> {
    const OF_SLOT: usize = SERVER_SETS as usize * size_of::<Servers<Connections>>();
    let end = slots.end as usize * OF_SLOT;
    let servers = open_map(dir, map::SERVERS)?;
    let mut memory = Mapping::writable(servers.as_fd(), end).context("map what is known of servers")?;
    memory.clear(slots.start as usize * OF_SLOT..end);
    Ok(())
}

/// Programs that are known. Somebody's word stands, also that of who attached another workload.
struct Readers(HashMap<MapData, Raw<Executable>, u8>);

impl Readers {
    fn open(dir: &Path) -> Result<Self> {
        HashMap::try_from(Map::HashMap(pinned(dir, map::READERS)?)).context("open the readers").map(Self)
    }

    fn note(&mut self, program: Executable, flags: u32) -> Result<()> {
        if self.is_vouched(program) {
            return Ok(());
        }
        let mut store = || {
            self.0.insert(Raw(program), flags as u8, 0).map_err(|error| match error {
                MapError::SyscallError(error) => error.io_error,
                other => io::Error::other(other),
            })
        };
        match patiently(&mut store) {
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) => {
                self.forget_all()?;
                self.0.insert(Raw(program), flags as u8, 0).context("store a reader")
            }
            other => other.context("store a reader"),
        }
    }

    /// Of programs that run no more nobody says so. Those that do are asked about again.
    fn forget_all(&mut self) -> Result<()> {
        let all: Vec<Raw<Executable>> =
            self.0.keys().collect::<Result<_, _>>().context("list the readers")?;
        all.into_iter().for_each(|program| self.forget(program.0));
        Ok(())
    }

    fn forget(&mut self, program: Executable) {
        if !self.is_vouched(program) {
            // Absent, but for one that was looked at before.
            let _ = self.0.remove(&Raw(program));
        }
    }

    fn is_vouched(&self, program: Executable) -> bool {
        self.0.get(&Raw(program), 0).is_ok_and(|flags| u32::from(flags) & TRUSTED_ANYWAY == TRUSTED_ANYWAY)
    }
}
