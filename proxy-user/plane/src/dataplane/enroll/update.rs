//! An attach of what is attached. The workload gets new rules under another number, and other programs into its links
//! where it needs them. Sockets keep what is remembered of them.

use anyhow::Result;
use proxy_common::{
    names::{map, program},
    workload::{feature, other_tables, state},
};

use super::enrollment::Enrollment;
use crate::dataplane::{
    guests, hooks::Target, late_listeners, meta::Meta, observation, pins, programs, programs::Programs,
    rules::Rules, rules_change::RulesChange, undo::Undo, warning::Warning, workloads::Workloads,
};

impl Enrollment<'_> {
    /// Attaches the workload in the place of what `old` describes.
    pub(super) fn update(
        &self,
        meta: &mut Meta,
        old: &Meta,
        listeners: &mut late_listeners::Found,
    ) -> Result<Vec<Warning>> {
        let programs = Programs::ensure(self.root, self.node_dir, self.known, meta.features)?;
        let table = Workloads::open(self.node_dir)?;
        let rules = Rules::open(self.node_dir)?;
        (meta.slot, meta.number, meta.tables) = (old.slot, old.number, other_tables(old.tables));
        let new = &*meta;
        let slot = new.slot;
        let change =
            RulesChange { pins: self.pins, table: &table, rules: &rules, old, new, compiled: self.compiled };
        let mut undo = Undo::default();

        change.stage(&mut undo)?;
        if new.features & feature::OBSERVE != 0 {
            observation::begin(self.node_dir, slot, false)?;
        }
        for hook in self.hooks(new, Target::Cgroup) {
            let path = self.pins.link(hook.program);
            if path.exists() {
                self.replace(&programs, hook, path, &mut undo)?;
            } else {
                self.link_to_cgroup(&programs, hook, self.pins.dir(), &mut undo)?;
            }
        }
        self.exchange(map::INBOUND, slot, &programs, program::INBOUND, &mut undo)?;
        self.attach_to_guests(new, &programs, self.pins.dir(), &mut undo)?;
        let other_ports = old.config.ports != new.config.ports;
        if other_ports {
            undo.push("the listeners of its new ports", || self.listen_as_before(old));
            late_listeners::clear(self.node_dir, slot)?;
        }
        self.listen(new, listeners, other_ports)?;
        let mut warnings = change.finish(self.entry(new, state::CAPTURES), undo)?;

        let builds = programs::remove_other_builds(self.node_dir, |build| {
            table.taken().any(|(_, workload)| workload.build == build)
        });
        warnings
            .extend(Warning::of_removing("what it had and does not need", self.remove_unneeded(new, old)));
        warnings.extend(Warning::of_removing("another build's programs", builds));
        Ok(warnings)
    }

    /// Puts the listeners of the old ports back into the workload's places.
    fn listen_as_before(&self, old: &Meta) -> Result<()> {
        let policy = old.compiled().policy;
        late_listeners::clear(self.node_dir, old.slot)?;
        late_listeners::Found::of(self.netns, &policy)?.add(
            self.netns,
            self.node_dir,
            old.slot,
            &policy,
            true,
        )
    }

    /// Removes what the workload had and does not need any more, besides its rules.
    fn remove_unneeded(&self, new: &Meta, old: &Meta) -> Result<()> {
        let links = self.unneeded_hooks(new, Target::Cgroup).map(|hook| self.pins.link(hook.program));
        for path in links.filter(|path| path.exists()) {
            pins::remove_link(&path)?;
        }
        for path in self.guests.unneeded(self.pins.dir())? {
            pins::remove_link(&path)?;
        }
        let gone = old.interfaces.iter().map(|(index, _)| *index);
        let gone = gone.filter(|index| !self.guests.gateways.contains_key(index));
        guests::forget(self.node_dir, new.slot, gone)?;
        if self.guests.gateways.is_empty() {
            guests::forget_flows(self.node_dir, new.slot)?;
        }
        Ok(())
    }
}
