//! The first attach of a workload. It is prepared in a directory of its own, which is renamed into place. The programs
//! on its cgroup do nothing until the cgroup is told its slot.

use std::fs;

use anyhow::{Context, Result};
use proxy_common::{
    names::{map, program},
    workload::{Workload, state, tables_of},
};

use super::enrollment::Enrollment;
use crate::dataplane::{
    hooks::Target, late_listeners, meta::Meta, observation, programs::Programs, release, rules::Rules,
    rules_change, takeover, undo::Undo, workloads::Workloads,
};

impl Enrollment<'_> {
    /// Attaches the workload. `slot` is the one that it has to have, if another build has attached it in one.
    pub(super) fn create(
        &self,
        meta: &mut Meta,
        slot: Option<u32>,
        listeners: &mut late_listeners::Found,
    ) -> Result<()> {
        let programs = Programs::ensure(self.root, self.node_dir, self.known, meta.features)?;
        let table = Workloads::open(self.node_dir)?;
        meta.slot = match slot {
            Some(slot) => table.claim(slot, self.pins)?,
            None => table.free_slot(&takeover::slots_elsewhere()?)?,
        };
        let keeps_slot = slot.is_some();
        [meta.tables, _] = tables_of(meta.slot);
        let (slot, cgroup) = (meta.slot, self.cgroup.id());
        let rules = Rules::open(self.node_dir)?;
        let stage = self.pins.staging();
        let mut undo = Undo::default();

        tracing::info!("the workload is slot {slot} of the node");
        // The table comes first: who is killed from here on is found in it.
        let entry = self.entry(meta, state::ANSWERS);
        undo.push("its place in the table", || table.set(slot, &Workload::default()));
        table.set(slot, &entry)?;
        rules_change::stage(self.pins, &rules, meta, self.compiled, &mut undo)?;
        undo.push("its sums", || observation::forget(self.node_dir, slot));
        self.begin_counting(meta)?;

        for hook in self.hooks(meta, Target::Cgroup) {
            self.link_to_cgroup(&programs, hook, &stage, &mut undo)?;
        }
        if !keeps_slot {
            undo.push("its cgroup's slot", move || release::set_slot(cgroup, 0));
        }
        release::set_slot(cgroup, u64::from(slot) + 1)?;
        // From here on sock_ops sees listeners that begin. Those that were there before are known by now, and one that
        // has begun in between may get a second place.
        undo.push("its listeners' places", || late_listeners::clear(self.node_dir, slot));
        self.listen(meta, listeners, true)?;
        if meta.sandbox.is_some() {
            listeners.all_reached()?;
        }
        undo.push("its inbound program", || self.clear(map::INBOUND, slot));
        self.set(map::INBOUND, slot, &programs, program::INBOUND)?;
        for hook in self.hooks(meta, Target::Netns) {
            self.link_to_netns(hook, slot, &stage, &mut undo)?;
        }
        self.attach_to_guests(meta, &programs, &stage, &mut undo)?;
        let dir = self.pins.dir();
        fs::rename(&stage, dir).with_context(|| format!("rename to {}", dir.display()))?;
        let back = &stage;
        undo.push("the pins", move || fs::rename(dir, back).context("rename them back"));
        table.set(slot, &Workload { state: state::CAPTURES, ..entry })?;
        undo.keep();
        Ok(())
    }
}
