//! How a workload gets rules. The order exists here once: the rules are written under a number that nobody decides by,
//! the table of workloads gets this number, the description that names it takes the place of the old one, and the old
//! rules are removed. A connection therefore meets either the old rules or the new ones, and whoever reads the
//! description finds rules that are there.

use anyhow::{Context, Result};
use proxy_common::{names::map, workload::Workload};
use proxy_core::compile::Compiled;

use super::{
    meta::Meta,
    pins::{self, WorkloadPins},
    refused,
    rules::Rules,
    undo::Undo,
    warning::Warning,
    workloads::Workloads,
};

/// Writes a workload's rules, and pins its description in a fresh directory where nobody looks for it
/// ([`WorkloadPins::staging`]).
pub(super) fn stage<'a>(
    pins: &WorkloadPins,
    rules: &'a Rules,
    meta: &Meta,
    compiled: &'a Compiled,
    undo: &mut Undo<'a>,
) -> Result<()> {
    let (stage, tables) = (meta.stage(pins)?, meta.tables);
    undo.push(format!("the pins in {}", stage.display()), move || pins::remove(&stage));
    undo.push("some of its new rules", move || rules.remove(tables, compiled));
    rules.write(tables, compiled)
}

/// A workload that has rules gets others.
pub(super) struct RulesChange<'a> {
    pub(super) pins: &'a WorkloadPins,
    pub(super) table: &'a Workloads,
    pub(super) rules: &'a Rules,
    pub(super) old: &'a Meta,
    pub(super) new: &'a Meta,
    /// The rules that the new description tells of.
    pub(super) compiled: &'a Compiled,
}

impl<'a> RulesChange<'a> {
    /// Writes the new rules and the new description, which change nothing yet.
    pub(super) fn stage(&self, undo: &mut Undo<'a>) -> Result<()> {
        stage(self.pins, self.rules, self.new, self.compiled, undo)
    }

    /// Puts the new rules in force, and removes the old ones. `undo` is what was done since [`RulesChange::stage`]: it is
    /// taken back unless the new description gets into its place. From then on nothing fails; what could not be removed
    /// is returned.
    pub(super) fn finish(self, entry: Workload, mut undo: Undo<'a>) -> Result<Vec<Warning>> {
        let (table, slot) = (self.table, self.new.slot);
        let was = table.get(slot);
        undo.push("its new rules", move || table.set(slot, &was));
        table.set(slot, &entry)?;
        refused::pretended(map::META)
            .with_context(|| format!("rename to {}", self.pins.map(map::META).display()))
            .and_then(|()| Meta::put_staged(self.pins))?;
        undo.keep();

        let removed = [
            Warning::of_removing("the directory of its new pins", pins::remove(&self.pins.staging())),
            Warning::of_removing("its old rules", self.rules.remove(self.old.tables, &self.old.compiled())),
        ];
        Ok(removed.into_iter().flatten().collect())
    }
}
