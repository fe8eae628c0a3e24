//! Where a workload's questions for names are counted.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context as _, Result};
use proxy_common::{
    names::map,
    questions::{ASKED_SETS, Asked, AskedSet, Questions, Resolvers, who},
    workload::SLOTS,
};

use super::{
    node_pins,
    pins::{map_in, open_map},
    wire::decode,
};
use crate::sys::bpf_mmap::Mapping;

const OF_ONE: usize = size_of::<Questions>();
const OF_SLOT: usize = OF_ONE * who::COUNT;
const KNOWN: usize = size_of::<Resolvers>();
/// Those that wait.
const WAITING: usize = size_of::<AskedSet>() * ASKED_SETS as usize;

const ALL: [(&str, usize); 3] =
    [(map::DNS_QUESTIONS, OF_SLOT), (map::DNS_ASKED, WAITING), (map::DNS_RESOLVERS, KNOWN)];

/// The maps, to read.
pub(crate) struct QuestionMaps {
    questions: Mapping,
    asked: Mapping,
    resolvers: Mapping,
}

impl QuestionMaps {
    pub(crate) fn open() -> Result<Self> {
        let dir = node_pins::dir();
        let mapped = |(name, of_slot): (&str, usize)| {
            let map = open_map(&dir, name)?;
            Mapping::new(map.as_fd(), of_slot * SLOTS as usize).with_context(|| format!("map {name}"))
        };
        let [questions, asked, resolvers] = ALL.map(mapped);
        Ok(Self { questions: questions?, asked: asked?, resolvers: resolvers? })
    }

    /// To a server: see [`who`].
    pub(crate) fn questions(&self, slot: u32, whom: usize) -> Option<Questions> {
        let mut words = [0; OF_ONE / 8];
        self.questions.read(slot as usize * OF_SLOT + whom * OF_ONE, &mut words);
        decode(&words)
    }

    pub(crate) fn resolvers(&self, slot: u32) -> Option<Resolvers> {
        let mut words = [0; KNOWN / 8];
        self.resolvers.read(slot as usize * KNOWN, &mut words);
        decode(&words)
    }

    pub(crate) fn asked(&self, slot: u32) -> impl Iterator<Item = Asked> {
        let mut words = [0; WAITING / 8];
        self.asked.read(slot as usize * WAITING, &mut words);
        let (pairs, _) = words.as_chunks::<2>();
        pairs.iter().map(|[mark, at]| Asked { mark: *mark, at: *at }).collect::<Vec<_>>().into_iter()
    }
}

/// A slot that is given out again has asked nothing.
pub(super) fn forget(dir: &Path, slot: u32) -> Result<()> {
    for (name, of_slot) in ALL {
        if !map_in(dir, name).exists() {
            continue;
        }
        let map = open_map(dir, name)?;
        let begin = slot as usize * of_slot;
        let mut memory =
            Mapping::writable(map.as_fd(), begin + of_slot).with_context(|| format!("map {name}"))?;
        memory.clear(begin..begin + of_slot);
    }
    Ok(())
}
