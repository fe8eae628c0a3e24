//! The embedded object: its programs, and a copy of it for trials.

use std::{fmt::Write as _, os::fd::BorrowedFd};

use anyhow::{Context, Result, anyhow};
use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel, programs::Program};
use proxy_common::{
    accel::AccelKernel,
    flow::FlowKernel,
    names::{global, map},
};

use super::{
    refused::{self, Refused, Step},
    wire::Raw,
};

/// The compiled programs.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("SIDESTEP_BPF_OBJECT"));

/// The number of the object, which workloads and pins carry: another object has another one, as far as a number tells.
pub(super) const BUILD: u32 = build();

/// The hook of the splice guard.
const FILE_PERMISSION: &str = "file_permission";

const fn build() -> u32 {
    match u32::from_str_radix(env!("SIDESTEP_BPF_BUILD"), 16) {
        Ok(number) => number,
        Err(_) => 0,
    }
}

/// Loads it with maps of its own, as small as they go: for trials, which use none of the large ones.
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
        map::WORKLOADS,
        map::SHARES,
        map::POLICIES,
        map::INBOUND,
        map::GUEST_IN,
        map::GUEST_OUT,
        map::LISTS,
        map::PENDING,
        map::LISTENERS,
        map::COUNTERS,
        map::GUEST_PORTS,
        map::GUEST_FLOWS,
        map::SOCKS,
        map::ENDS,
        map::READERS,
        map::LOCAL_ADDRS,
        map::ACTIVITY,
        map::ACCEL_COUNTERS,
        map::JOURNAL,
        map::KEPT,
        map::LIVE,
        map::LISTED,
        map::FLOW_PEERS,
        map::OPEN_TOTALS,
        map::TURNAROUNDS,
    ] {
        loader.map_max_entries(name, 1);
    }
    loader.load(OBJECT).context("create the BPF maps")
}

pub(super) fn typed<'a, T>(ebpf: &'a mut Ebpf, name: &str) -> Result<T>
where
    T: TryFrom<&'a mut aya::maps::Map>,
    T::Error: std::error::Error + Send + Sync + 'static,
{
    let map = ebpf.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))?;
    T::try_from(map).with_context(|| format!("map {name}"))
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
        Program::CgroupSkb(p) => p.load(),
        Program::SkLookup(p) => p.load(),
        Program::SkMsg(p) => p.load(),
        Program::SchedClassifier(p) => p.load(),
        Program::LsmCgroup(p) => {
            p.load(FILE_PERMISSION, &Btf::from_sys_fs().context("kernel type information")?)
        }
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
}
