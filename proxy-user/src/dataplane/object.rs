//! Loads the embedded object: globals, map sizes, contents.

use std::{fmt::Write as _, os::fd::BorrowedFd, path::Path};

use anyhow::{Context, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, HashMap, LpmTrie, MapInfo, lpm_trie::Key},
    programs::Program,
};
use ipnet::IpNet;
use proxy_common::{
    accel::AccelKernel,
    addr::Addr,
    flow::FlowKernel,
    guest::{FLOWS, GuestGateway},
    names::{global, map},
    wire::{FAMILY_BITS, Kernel, MetaChunk, PORT_CHUNK, PortChunk, PrefixKey, Route},
};

use super::{
    compile::Compiled,
    guests::Guests,
    pins::map_in,
    refused::{self, Refused, Step},
    wire::Raw,
};

/// The compiled programs.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SIDESTEP_BPF_OBJECT"));

/// What the programs are told about the running kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) kernel: Kernel,
    pub(super) accel: AccelKernel,
    pub(super) flow: FlowKernel,
}

/// Loads programs and maps. State maps pinned in `state_dir` are used again, otherwise made and pinned there.
pub(super) fn load(
    compiled: &Compiled,
    guests: &Guests,
    facts: &Facts,
    meta: &[MetaChunk],
    state_dir: &Path,
    node_dir: &Path,
) -> Result<Ebpf> {
    let (policy, kernel) = (Raw(compiled.policy), Raw(facts.kernel));
    let (accel, flow) = (Raw(facts.accel), Raw(facts.flow));
    // It reads the kernel's type information by itself.
    let mut loader = EbpfLoader::new();
    loader
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global(global::POLICY, &policy, true)
        .override_global(global::KERNEL, &kernel, true)
        .override_global(global::ACCEL, &accel, true)
        .override_global(global::FLOW, &flow, true)
        .map_max_entries(map::RANGES, entries(compiled.ranges.len()))
        .map_max_entries(map::ROUTES, entries(compiled.routes.len()))
        .map_max_entries(map::IDS, entries(compiled.ids.len()))
        .map_max_entries(map::INTERFACES, entries(compiled.interfaces.len()))
        .map_max_entries(map::GUEST_GATEWAYS, entries(guests.gateways.len()))
        .map_max_entries(map::META, entries(meta.len()));
    // Memory for all flows is taken at once: only where there are guests.
    let flows = if guests.gateways.is_empty() { 1 } else { FLOWS };
    for name in [map::GUEST_PORTS, map::GUEST_FLOWS] {
        loader.map_max_entries(name, flows);
        remove_other_size(&map_in(state_dir, name), flows)?;
    }
    for name in map::STATE {
        loader.map_pin_path(name, map_in(state_dir, name));
    }
    for name in map::NODE {
        loader.map_pin_path(name, map_in(node_dir, name));
    }
    let mut ebpf = loader.load(OBJECT).context("create the BPF maps")?;
    fill(&mut ebpf, compiled, meta)?;
    let mut gateways: HashMap<_, u32, Raw<GuestGateway>> = typed(&mut ebpf, map::GUEST_GATEWAYS)?;
    for (index, gateway) in &guests.gateways {
        gateways
            .insert(index, Raw(*gateway), 0)
            .with_context(|| format!("store the addresses of {index}"))?;
    }
    Ok(ebpf)
}

/// The same with maps of its own, as small as they go: for trials, which use none of the large ones.
pub(super) fn load_alone(accel: AccelKernel, flow: FlowKernel) -> Result<Ebpf> {
    let (accel, flow) = (Raw(accel), Raw(flow));
    // It reads the kernel's type information by itself.
    let mut loader = EbpfLoader::new();
    loader
        // A verifier that writes down each step of a program that it refuses takes minutes.
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global(global::ACCEL, &accel, true)
        .override_global(global::FLOW, &flow, true);
    for name in [
        map::SOCKS,
        map::ENDS,
        map::READERS,
        map::LOCAL_ADDRS,
        map::ACTIVITY,
        map::ACCEL_COUNTERS,
        map::JOURNAL,
        map::LIVE,
        map::LISTED,
        map::OPEN_TOTALS,
    ] {
        loader.map_max_entries(name, 1);
    }
    loader.load(OBJECT).context("create the BPF maps")
}

/// A pinned map of another size is not used again: guests came or went.
fn remove_other_size(path: &Path, wanted: u32) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let map = MapInfo::from_pin(path).with_context(|| format!("open {}", path.display()))?;
    if map.max_entries() == wanted {
        return Ok(());
    }
    std::fs::remove_file(path).with_context(|| format!("remove {}", path.display()))
}

/// Room for at least one: the kernel makes no empty maps.
fn entries(count: usize) -> u32 {
    u32::try_from(count.max(1)).unwrap_or(u32::MAX)
}

fn fill(ebpf: &mut Ebpf, compiled: &Compiled, meta: &[MetaChunk]) -> Result<()> {
    let mut ranges: LpmTrie<_, Raw<PrefixKey>, u8> = typed(ebpf, map::RANGES)?;
    for (net, bits) in &compiled.ranges {
        ranges.insert(&prefix_key(net), bits, 0).with_context(|| format!("store the range {net}"))?;
    }
    let mut routes: LpmTrie<_, Raw<PrefixKey>, Raw<Route>> = typed(ebpf, map::ROUTES)?;
    for (net, route) in &compiled.routes {
        routes.insert(&prefix_key(net), Raw(*route), 0).with_context(|| format!("store the route {net}"))?;
    }
    let mut ports: Array<_, PortChunk> = typed(ebpf, map::PORTS)?;
    for (index, bits) in compiled.ports.chunks_exact(PORT_CHUNK).enumerate() {
        if bits.iter().any(|bits| *bits != 0) {
            let chunk: PortChunk = bits.try_into().context("port chunk")?;
            ports.set(index as u32, chunk, 0).context("store the ports")?;
        }
    }
    let mut ids: HashMap<_, u32, u8> = typed(ebpf, map::IDS)?;
    for (id, bits) in &compiled.ids {
        ids.insert(id, bits, 0).with_context(|| format!("store the id {id}"))?;
    }
    let mut interfaces: HashMap<_, u32, u8> = typed(ebpf, map::INTERFACES)?;
    for (index, bits) in &compiled.interfaces {
        interfaces.insert(index, bits, 0).with_context(|| format!("store the interface {index}"))?;
    }
    let mut chunks: Array<_, MetaChunk> = typed(ebpf, map::META)?;
    for (index, chunk) in meta.iter().enumerate() {
        chunks.set(index as u32, chunk, 0).context("store the workload's description")?;
    }
    Ok(())
}

pub(super) fn typed<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<&'a mut aya::maps::Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name}"))
}

fn prefix_key(net: &IpNet) -> Key<Raw<PrefixKey>> {
    // The family is the text's: a route or range inside ::ffff:0:0/96 (`unreachable ::ffff:0:0/96` is a common one) is
    // none of IPv4's, and no IPv6 packet is in it.
    let (family, mapped) = if matches!(net, IpNet::V4(_)) { (4, 96) } else { (6, 0) };
    let key = PrefixKey { family: [0, 0, 0, family], addr: Addr::from(net.network()) };
    Key::new(FAMILY_BITS + mapped + u32::from(net.prefix_len()), Raw(key))
}

/// Has the kernel verify one program; a second place for it needs no second copy.
pub(super) fn load_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    use std::os::fd::AsFd as _;
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))?;
    let known = program.fd().is_ok();
    refused::pretended(name).map_err(|error| Refused::to(Step::Load, name, error))?;
    let loaded = match program {
        _ if known => Ok(()),
        Program::CgroupSock(p) => p.load(),
        Program::CgroupSockAddr(p) => p.load(),
        Program::CgroupSockopt(p) => p.load(),
        Program::SockOps(p) => p.load(),
        Program::SkLookup(p) => p.load(),
        Program::SkMsg(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        other => return Err(anyhow!("{name}: unexpected program type {:?}", other.prog_type())),
    };
    loaded.map_err(|error| Refused::to(Step::Load, name, error))?;
    Ok(program.fd().with_context(|| format!("program {name}"))?.as_fd())
}

/// One line per loaded program: verified instructions, JITed size. For tests and `doctor`.
pub fn program_stats(ebpf: &Ebpf) -> String {
    let mut text = String::new();
    for (name, program) in ebpf.programs() {
        if let Ok(info) = program.info() {
            let _ = writeln!(
                text,
                "{name}: {} instructions, {} bytes JITed",
                info.verified_instruction_count().unwrap_or(0),
                info.size_jitted()
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
    use rstest::rstest;

    use super::*;

    /// Linux 5.10 refuses a program for an atomic instruction it does not know, executed or not
    /// (`kernel/bpf/verifier.c: resolve_pseudo_ldimm64`). Observation needs 5.12, capture does not.
    #[test]
    fn only_the_observation_has_atomic_instructions_that_answer() {
        const STX_ATOMIC: [u8; 2] = [0xc3, 0xdb];
        let elf = object::File::parse(OBJECT).unwrap();
        let mut with = BTreeSet::new();
        for program in elf.symbols().filter(|it| it.kind() == SymbolKind::Text && it.size() > 0) {
            let section = elf.section_by_index(program.section_index().unwrap()).unwrap();
            let first = usize::try_from(program.address() - section.address()).unwrap();
            let code = &section.data().unwrap()[first..][..usize::try_from(program.size()).unwrap()];
            let answers = |code: &[u8]| STX_ATOMIC.contains(&code[0]) && code[4..8] != [0; 4];
            if code.chunks_exact(8).any(answers) {
                with.insert(program.name().unwrap());
            }
        }
        let observation = ["flow_list", "flow_ops", "flow_release", "flow_sum"];
        assert_eq!(with, BTreeSet::from(observation));
    }

    #[rstest]
    #[case::v4("10.0.0.0/8", 32 + 96 + 8, true)]
    #[case::all_v4("0.0.0.0/0", 32 + 96, true)]
    #[case::v6("fd00::/8", 32 + 8, false)]
    #[case::mapped("::ffff:0:0/96", 32 + 96, false)]
    #[case::mapped_host("::ffff:10.0.0.1/128", 32 + 128, false)]
    fn a_range_covers_its_own_family_only(#[case] net: &str, #[case] length: u32, #[case] v4: bool) {
        let key = prefix_key(&net.parse().unwrap());
        let some_v4 = PrefixKey::new(Addr::v4([10, 0, 0, 1]));
        assert_eq!((key.prefix_len(), key.data().0.family == some_v4.family), (length, v4));
    }
}
