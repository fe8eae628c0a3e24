//! How often the programs ran and for how long, as far as the kernel counted (`kernel.bpf_stats_enabled`).

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    os::fd::AsFd as _,
    time::Duration,
};

use anyhow::{Context, Result};
use aya::{
    maps::MapInfo,
    programs::{ProgramInfo, loaded_programs},
};
use aya_obj::generated::bpf_prog_type;
use proxy_common::names::{map, program};
use serde::Serialize;

use super::{
    node,
    pins::{WorkloadPins, map_in},
};
use crate::sys::{bpf_link, bpf_pin};

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

    pub fn of_workload(&self, pins: &WorkloadPins) -> Result<Vec<Run>> {
        let mut ids = Vec::new();
        let dir = pins.dir();
        for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link_")) {
                continue;
            }
            match bpf_pin::open(&path).and_then(|link| bpf_link::program_id(link.as_fd())) {
                Ok(id) => ids.push(id),
                // An attach takes hooks away that are no longer needed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
            }
        }
        // One program may hang on several interfaces.
        ids.sort_unstable();
        ids.dedup();
        Ok(sum(ids.iter().filter_map(|id| self.0.get(id))))
    }

    /// The program every accelerated socket keeps; what it passes on to is counted with it. There are several after an
    /// update, as long as sockets keep the old one.
    pub fn of_node(&self) -> Result<Vec<Run>> {
        let path = map_in(&node::dir(), map::DISPATCH);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let table = MapInfo::from_pin(&path).with_context(|| format!("open {}", path.display()))?.id();
        let uses_table = |info: &&ProgramInfo| {
            info.program_type() == bpf_prog_type::BPF_PROG_TYPE_SK_MSG
                && info.name_as_str() == Some(program::DISPATCH)
                && info.map_ids().ok().flatten().is_some_and(|maps| maps.contains(&table))
        };
        Ok(sum(self.0.values().filter(uses_table)))
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
