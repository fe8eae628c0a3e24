//! How often the programs ran and for how long, as far as the kernel counted (`kernel.bpf_stats_enabled`).

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::{Context, Result};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use proxy_common::names::{map, program};
use serde::Serialize;

use super::{node_pins, pins::map_in};

#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    pub program: String,
    pub count: u64,
    pub time: Duration,
}

/// All programs of the machine, by id: one pass for any number of workloads.
#[derive(Debug)]
pub struct Programs(HashMap<u32, ProgramInfo>);

impl Programs {
    /// Programs that go while they are listed are left out.
    pub fn loaded() -> Self {
        Self(loaded_programs().filter_map(Result::ok).map(|info| (info.id(), info)).collect())
    }

    /// Those of the node. One name may stand for several programs: of several sets of features, and of builds that
    /// sockets or workloads have kept.
    pub fn of_node(&self) -> Result<Vec<Run>> {
        let path = map_in(&node_pins::dir(), map::WORKLOADS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let id = |name: &str| -> Result<u32> {
            let path = map_in(&node_pins::dir(), name);
            Ok(MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?.id())
        };
        // What no workload is found through still has the table that all sockets keep.
        let (table, dispatch) = (id(map::WORKLOADS)?, id(map::DISPATCH)?);
        let is_ours = |info: &&ProgramInfo| {
            let maps = info.map_ids().ok().flatten().unwrap_or_default();
            let passes_on = info.name_as_str() == Some(program::DISPATCH) && maps.contains(&dispatch);
            // What the dispatcher passes on to is counted with it.
            maps.contains(&table) && info.name_as_str() != Some(program::REDIRECT) || passes_on
        };
        Ok(sum(self.0.values().filter(is_ours)))
    }
}

fn sum<'a>(programs: impl Iterator<Item = &'a ProgramInfo>) -> Vec<Run> {
    let mut runs: BTreeMap<String, Run> = BTreeMap::new();
    for info in programs {
        let program = info.name_as_str().unwrap_or_default().to_owned();
        let run = runs.entry(program.clone()).or_insert_with(|| Run { program, ..Run::default() });
        run.count += info.run_count();
        run.time += info.run_time();
    }
    runs.into_values().collect()
}
