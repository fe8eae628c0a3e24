//! The observation of a workload's connections: whether it is possible, what it keeps with the node, and where readers
//! find that.

use std::{
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf,
    maps::{HashMap, Map, MapData, PerCpuHashMap, PerCpuValues, SkStorage},
    util::nr_cpus,
};
use clap::ValueEnum;
use proxy_common::{
    accel::AccelKernel,
    flow::{Class, FlowKernel, FlowRecord, OpenKey, OpenTotals, Totals, flow_flag, totals_key},
    names::{map, program},
};
use serde::{Deserialize, Serialize};

use super::{
    facts, late_listeners, node, object,
    pins::{self, WorkloadPins, map_in},
    wire::Raw,
};
use crate::{
    kernel::{
        feature::{Answer, Feature},
        version::KernelVersion,
    },
    netns::{self, Netns},
    sys::{bpf_iter, bpf_link, bpf_pin},
};

/// From here on the tests run on every change; older verifiers are asked first.
const TESTED: KernelVersion = KernelVersion(6, 18);

/// The programs that look at sockets of observed workloads.
const PROGRAMS: [&str; 8] = [
    program::FLOW_LIST,
    program::FLOW_SUM,
    program::FLOW_OPS,
    program::FLOW_RELEASE,
    program::CONNECT4,
    program::CONNECT6,
    program::GETPEERNAME4,
    program::GETPEERNAME6,
];

/// The wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Observe {
    /// Each connection is recorded; without records where the kernel does not allow it
    #[default]
    On,
    /// Nothing is recorded
    Off,
}

/// What is done about it.
pub(super) struct Observation {
    pub(super) kernel: Option<FlowKernel>,
    /// Why not, if not.
    pub(super) reason: Option<String>,
}

impl Observation {
    pub(super) fn plan(wish: Observe, pins: &WorkloadPins, slot: u32) -> Result<Self> {
        if wish == Observe::Off {
            return Ok(Self { kernel: None, reason: Some("switched off (--observe off)".to_owned()) });
        }
        let version = KernelVersion::current()?;
        // Socket storage in iterators, which they need too, is one release older.
        if let Answer::No(detail) = Feature::AtomicFetch.probe() {
            let row = Feature::AtomicFetch.row();
            let reason = format!("Linux {version} lacks {} (since {}): {detail}", row.name, row.since);
            return Ok(Self { kernel: None, reason: Some(reason) });
        }
        let found = offsets(pins, slot).and_then(|kernel| {
            if version < TESTED {
                loads(kernel)
                    .map_err(|error| format!("Linux {version} refuses to keep flow records: {error:#}"))?;
            }
            Ok(kernel)
        });
        Ok(match found {
            Ok(kernel) => Self { kernel: Some(kernel), reason: None },
            Err(reason) => Self { kernel: None, reason: Some(reason) },
        })
    }
}

/// Has the verifier look at the programs as they would be loaded: redirection must not fail for the sake of records.
fn loads(kernel: FlowKernel) -> Result<()> {
    let mut ebpf = object::load_alone(AccelKernel::UNKNOWN, kernel)?;
    PROGRAMS.iter().try_for_each(|name| object::load_program(&mut ebpf, name).map(drop))
}

fn offsets(pins: &WorkloadPins, slot: u32) -> Result<FlowKernel, String> {
    let btf = facts::readable().map_err(|error| format!("sockets cannot be looked at: {error:#}"))?;
    let at = |strukt: &str, member: &str| {
        btf.get(strukt, member).ok_or_else(|| format!("this kernel has no {strukt}.{member}"))
    };
    let netns = u32::try_from(pins.netns_inode()).map_err(|_| "the namespace's number is too large")?;
    Ok(FlowKernel {
        cgroup: pins.cgroup_id(),
        netns,
        slot,
        // sock_common stands at the head of sock.
        sk_state: at("sock_common", "skc_state")?,
        sk_flags: at("sock_common", "skc_flags")?,
        sk_err: at("sock", "sk_err")?,
        sk_socket: at("sock", "sk_socket")?,
        sk_user_data: at("sock", "sk_user_data")?,
        sk_ifindex: btf.get("sock", "sk_rx_dst_ifindex").unwrap_or(0),
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_copied_seq: at("tcp_sock", "copied_seq")?,
        tcp_rcv_nxt: at("tcp_sock", "rcv_nxt")?,
        tcp_bytes_acked: at("tcp_sock", "bytes_acked")?,
        tcp_bytes_received: at("tcp_sock", "bytes_received")?,
        tcp_srtt_us: at("tcp_sock", "srtt_us")?,
        tcp_total_retrans: at("tcp_sock", "total_retrans")?,
        task_tgid: if Feature::CurrentTaskInSockOps.probe().is_yes() {
            at("task_struct", "tgid")?
        } else {
            0
        },
        task_comm: at("task_struct", "comm")?,
        psock_ingress: at("sk_psock", "ingress_msg")?,
        msg_list: at("sk_msg", "list")?,
        msg_size: at("sk_msg", "sg")? + at("sk_msg_sg", "size")?,
        psock_total: btf.get("sk_psock", "msg_tot_len").unwrap_or(0),
        task_leader: at("task_struct", "group_leader")?,
    })
}

/// The iterators, and the workload's sums; `anew`: from zero.
pub(super) fn install(ebpf: &mut Ebpf, dir: &Path, slot: u32, anew: bool) -> Result<()> {
    for name in [program::FLOW_LIST, program::FLOW_SUM] {
        install_iterator(ebpf, dir, name).with_context(|| format!("the flow iterator {name}"))?;
    }
    let mut totals = totals_in(dir)?;
    let cpus = nr_cpus().map_err(|(file, error)| anyhow!("{file}: {error}"))?;
    for class in Class::ALL {
        let key = totals_key(slot, *class);
        if anew || totals.get(&key, 0).is_err() {
            let zero = PerCpuValues::try_from(vec![Raw(Totals::default()); cpus])?;
            totals.insert(key, zero, 0).context("make the sums of the workload's flows")?;
        }
    }
    Ok(())
}

fn install_iterator(ebpf: &mut Ebpf, dir: &Path, name: &str) -> Result<()> {
    let flows = node::pinned(dir, map::FLOWS)?;
    let iterator = object::load_program(ebpf, name)?;
    let path = pins::link_in(dir, name);
    if path.exists() {
        let link = bpf_pin::open(&path).with_context(|| format!("open {}", path.display()))?;
        return bpf_link::update(link.as_fd(), iterator).context("update its link");
    }
    let link = bpf_iter::create(iterator, flows.fd().as_fd()).context("link it")?;
    bpf_pin::pin(link.as_fd(), &path).with_context(|| format!("pin {}", path.display()))
}

/// A workload that goes takes its sums with it.
pub(super) fn forget(slot: u32) -> Result<()> {
    let dir = node::dir();
    if !map_in(&dir, map::FLOW_TOTALS).exists() {
        return Ok(());
    }
    let mut totals = totals_in(&dir)?;
    for class in Class::ALL {
        // Absent if it was not observed.
        let _ = totals.remove(&totals_key(slot, *class));
    }
    Ok(())
}

/// Listeners that are there already are marked with their process, for what they accept from now on.
pub(super) fn mark_listeners(netns: &Netns, dir: &Path) -> Result<()> {
    let data = node::pinned(dir, map::FLOWS)?;
    let mut flows: SkStorage<MapData, Raw<FlowRecord>> = SkStorage::try_from(Map::SkStorage(data))?;
    for listener in netns::listeners(Some(netns))? {
        // Of a process that is not visible here.
        let Ok(Some((pid, socket))) = late_listeners::socket_of(netns, &listener) else { continue };
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

/// The file that lists live flows each time it is opened and read; none: nothing is observed.
pub(crate) fn list_pin() -> Option<PathBuf> {
    Some(pins::link_in(&node::dir(), program::FLOW_LIST)).filter(|path| path.exists())
}

/// Where the iterator puts what it lists.
pub(crate) fn listed_pin() -> Result<MapData> {
    node::pinned(&node::dir(), map::LISTED)
}

/// The journal's head and entries.
pub(crate) fn journal_pins() -> Result<(MapData, MapData)> {
    let dir = node::dir();
    Ok((node::pinned(&dir, map::JOURNAL_HEAD)?, node::pinned(&dir, map::JOURNAL)?))
}

pub(crate) type OpenTotalsMap = HashMap<MapData, Raw<OpenKey>, Raw<OpenTotals>>;

/// The file that adds up live flows each time it is opened and read, and the map it does so in; none: nothing is
/// observed.
pub(crate) fn open_sums() -> Result<Option<(PathBuf, OpenTotalsMap)>> {
    let dir = node::dir();
    let pin = pins::link_in(&dir, program::FLOW_SUM);
    if !pin.exists() {
        return Ok(None);
    }
    let data = node::pinned(&dir, map::OPEN_TOTALS)?;
    let map = HashMap::try_from(Map::HashMap(data)).context("open the sums of open flows")?;
    Ok(Some((pin, map)))
}

type TotalsMap = PerCpuHashMap<MapData, u32, Raw<Totals>>;

/// The sums; none: nothing is observed.
pub(crate) fn open_totals() -> Result<Option<TotalsMap>> {
    if list_pin().is_none() {
        return Ok(None);
    }
    totals_in(&node::dir()).map(Some)
}

fn totals_in(dir: &Path) -> Result<TotalsMap> {
    let data = node::pinned(dir, map::FLOW_TOTALS)?;
    PerCpuHashMap::try_from(Map::PerCpuHashMap(data)).context("open the sums of the flows")
}
