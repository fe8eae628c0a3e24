//! Addresses, routes and interfaces as they are by now: decisions are made from what was found when a workload was
//! enrolled, until somebody looks again.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use proxy_common::{
    names::map,
    policy::flag,
    workload::{Workload, other_tables},
};
use proxy_core::compile::compile;

use super::{
    accelerated, bpffs, layout::layout, lock::Lock, meta::Meta, node_pins, passthrough6, pins::WorkloadPins,
    recorded, rules::Rules, rules_change::RulesChange, undo::Undo, workloads::Workloads,
};
use crate::netns;

/// False: nothing has changed.
pub(super) fn refresh(pins: &WorkloadPins) -> Result<bool> {
    let gone = || {
        format!(
            "workload {}: its network namespace is gone; run `sidestep detach --workload {0}`",
            pins.name()
        )
    };
    let seen = Meta::read(&pins.map(map::META)).with_context(|| format!("workload {}", pins.name()))?;
    ensure!(seen.layout == layout(), "another version of sidestep attached it: run `sidestep attach` again");
    let netns = passthrough6::find(&seen.netns_path, seen.netns).with_context(gone)?;
    ensure!(netns.cookie()? == seen.netns_cookie, gone());
    let interfaces = netns::interfaces(&netns)?;
    let routes = netns::routes(&netns)?;
    let mut compiled = compile(&seen.config, seen.ipv6, &interfaces, &routes);
    compiled.policy.flags |= seen.policy_flags & flag::GUESTS;
    let mut meta = seen.clone().with_rules(&compiled, &routes);
    let was: HashMap<u32, u8> = seen.interfaces.iter().copied().collect();
    if (&meta.routes, &compiled.interfaces) == (&seen.routes, &was) {
        return Ok(false);
    }

    let _lock = Lock::take(&bpffs::root())?.with_context(|| format!("workload {} is gone", pins.name()))?;
    let now = Meta::read(&pins.map(map::META)).with_context(|| format!("workload {}", pins.name()))?;
    ensure!(now == seen, "workload {} was attached again meanwhile: try again", pins.name());
    let node_dir = node_pins::dir();
    let (table, rules) = (Workloads::open(&node_dir)?, Rules::open(&node_dir)?);
    let (slot, entry) = (meta.slot, table.get(meta.slot));
    meta.tables = other_tables(seen.tables);
    let change =
        RulesChange { pins, table: &table, rules: &rules, old: &seen, new: &meta, compiled: &compiled };
    let mut undo = Undo::default();
    change.stage(&mut undo)?;
    for warning in change.finish(Workload { tables: meta.tables, ..entry }, undo)? {
        tracing::warn!(workload = pins.name(), "{warning}");
    }
    accelerated::withdraw(&node_dir, slot, seen.addresses.iter().filter(|ip| !meta.addresses.contains(ip)))?;
    accelerated::publish(&node_dir, slot, &meta.addresses, meta.not_accelerated.is_none())?;
    recorded::refreshed(pins, &seen, &meta);
    Ok(true)
}
