//! What the kernel has of the agent's work. Pins are the only record of it: an agent that starts reads them, and goes on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use proxy_common::names::map;
use proxy_plane::dataplane::{Meta, WorkloadPins, is_whole};

use crate::{decide::Wish, plan::Actual, pod::SandboxId};

/// By workload, the name of its pins.
#[derive(Debug, Default)]
pub(crate) struct Enrolled(pub(crate) BTreeMap<String, Actual>);

impl Enrolled {
    /// All of them, as they are.
    pub(crate) fn read() -> Result<Self> {
        let mut found = Self::default();
        for pins in WorkloadPins::all()? {
            found.look_at(&pins);
        }
        Ok(found)
    }

    /// Without those that are gone, by name alone: an agent asks often. Whether there were such.
    pub(crate) fn look_again(&mut self) -> Result<bool> {
        let there = WorkloadPins::all()?;
        let names: BTreeSet<String> = there.iter().map(WorkloadPins::name).collect();
        let before = self.0.len();
        self.0.retain(|name, _| names.contains(name));
        Ok(self.0.len() < before)
    }

    /// What somebody else has attached is not the agent's.
    fn look_at(&mut self, pins: &WorkloadPins) {
        let Ok(meta) = Meta::read(&pins.map(map::META)) else { return };
        let is_whole = is_whole(pins, &meta);
        let Some(sandbox) = meta.sandbox else { return };
        let wish = Wish { config: meta.config, acceleration: meta.acceleration, observe: meta.observe };
        self.0.insert(pins.name(), Actual { sandbox: SandboxId(sandbox.id), wish, is_whole });
    }

    pub(crate) fn of(&self, sandbox: &SandboxId) -> Option<(&String, &Actual)> {
        self.0.iter().find(|(_, has)| has.sandbox == *sandbox)
    }
}
