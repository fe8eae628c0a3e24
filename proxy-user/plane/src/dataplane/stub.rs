//! Small programs of a workload's own, where no cgroup leads from a packet to the workload: sk_lookup and tc. Each leaves
//! its slot for the node's program and passes on to it; a dozen instructions, loaded in a fifth of a millisecond.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result};
use proxy_common::{names::map, workload::Caller};

use super::pins::open_map;
use crate::sys::{
    bpf_link::AttachType,
    bpf_load::{self, Instruction as I, ProgramType},
};

const MAP_LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
const PASSED: usize = size_of::<u32>();
const _: () = assert!(size_of::<Caller>() == 5 * PASSED);

/// Which kind.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Inbound,
    GuestIn,
    GuestOut,
}

impl Kind {
    const fn table(self) -> &'static str {
        match self {
            Self::Inbound => map::INBOUND,
            Self::GuestIn => map::GUEST_IN,
            Self::GuestOut => map::GUEST_OUT,
        }
    }

    /// `struct bpf_sk_lookup`: remote_ip4, remote_ip6[3], remote_port, local_port. Of a tc program nothing: it runs with
    /// bottom halves off, so that nobody comes in between.
    const fn seen(self) -> [Option<i16>; 4] {
        match self {
            Self::Inbound => [Some(16), Some(32), Some(36), Some(60)],
            Self::GuestIn | Self::GuestOut => [None; 4],
        }
    }

    /// Where the table has no program (somebody removed the node's pins): what may be captured is refused.
    const fn without(self) -> i32 {
        const SK_DROP: i32 = 0;
        const TCX_NEXT: i32 = -1;
        match self {
            Self::Inbound => SK_DROP,
            Self::GuestIn | Self::GuestOut => TCX_NEXT,
        }
    }
}

/// Loads one for a slot.
pub(super) fn load(kind: Kind, node_dir: &Path, slot: u32) -> Result<OwnedFd> {
    let caller = open_map(node_dir, map::CALLER)?;
    let table = open_map(node_dir, kind.table())?;
    let slot = i32::try_from(slot).context("the slot's number")?;
    let mut code = vec![I::copy(6, 1), I::store_word(10, -4, 0), I::copy(2, 10), I::add(2, -4)];
    code.extend(I::load_map(1, caller.as_fd()));
    // To the end, if there is no such value.
    code.extend([I::call(MAP_LOOKUP), I::skip_if_zero(0, 0), I::copy(7, 0), I::store_word(7, 0, slot)]);
    let jump = code.len() - 3;
    for (at, field) in (1i16..).zip(kind.seen()) {
        let to = at * PASSED as i16;
        match field {
            Some(offset) => code.extend([I::load_word(1, 6, offset), I::store(7, to, 1)]),
            None => code.push(I::store_word(7, to, 0)),
        }
    }
    code.push(I::copy(1, 6));
    code.extend(I::load_map(2, table.as_fd()));
    // Read back: a number the verifier knows would become a jump, and each change of the table a wait for the whole
    // kernel (`kernel/bpf/arraymap.c: prog_array_map_poke_run`).
    code.extend([I::load_word(3, 7, 0), I::call(TAIL_CALL)]);
    code[jump] = I::skip_if_zero(0, i16::try_from(code.len() - jump - 1).context("a short program")?);
    code.extend([I::set(0, kind.without()), I::exit()]);
    load_as(kind, &code).context("load a workload's own program")
}

fn load_as(kind: Kind, code: &[I]) -> io::Result<OwnedFd> {
    match kind {
        Kind::Inbound => {
            bpf_load::load(ProgramType::SkLookup, Some(AttachType::SkLookup), "sidestep_in", code)
        }
        Kind::GuestIn | Kind::GuestOut => bpf_load::load(ProgramType::SchedCls, None, "sidestep_guest", code),
    }
}
