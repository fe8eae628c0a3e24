//! What the kernel has of the agent's work. Pins are the only record of it: an agent that starts reads them, and goes on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use proxy_common::names::map;
use proxy_plane::dataplane::{Meta, Stamp, WorkloadPins, is_whole};

use crate::{decide::Wish, plan::Actual, pod::SandboxId};

/// By workload, the name of its pins.
#[derive(Debug, Default)]
pub(crate) struct Enrolled {
    pub(crate) all: BTreeMap<String, Actual>,
    /// When the names were those.
    listed: Option<Stamp>,
}

impl Enrolled {
    /// All of them, as they are.
    pub(crate) fn read() -> Result<Self> {
        let mut found = Self::default();
        for pins in WorkloadPins::all()? {
            found.look_at(&pins);
        }
        Ok(found)
    }

    /// Without those that are gone, by name alone: an agent asks often, and a node full of pods has a long list. Whether there
    /// were such.
    pub(crate) fn look_again(&mut self) -> Result<bool> {
        let now = WorkloadPins::stamp();
        if now.is_some() && now == self.listed {
            return Ok(false);
        }
        let there = WorkloadPins::all()?;
        let names: BTreeSet<String> = there.iter().map(WorkloadPins::name).collect();
        let before = self.all.len();
        self.all.retain(|name, _| names.contains(name));
        self.listed = now;
        Ok(self.all.len() < before)
    }

    /// What somebody else has attached is not the agent's.
    fn look_at(&mut self, pins: &WorkloadPins) {
        let Ok(meta) = Meta::read(&pins.map(map::META)) else { return };
        let is_whole = is_whole(pins, &meta);
        let Some(sandbox) = meta.sandbox else { return };
        let wish = Wish { config: meta.config, acceleration: meta.acceleration, observe: meta.observe };
        self.all.insert(pins.name(), Actual { sandbox: SandboxId(sandbox.id), wish, is_whole });
    }

    pub(crate) fn of(&self, sandbox: &SandboxId) -> Option<(&String, &Actual)> {
        self.all.iter().find(|(_, has)| has.sandbox == *sandbox)
    }
}
