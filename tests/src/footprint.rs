//! What a data plane has in the kernel for one workload, and that all of it goes: links, programs, maps, pins.
//! Only what is this workload's alone has to go, because tests run in parallel and workloads share programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::pod::Pod;

/// The kernel frees programs and maps after an RCU grace period.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Kernel objects by id, and pinned paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub links: BTreeSet<u64>,
    pub programs: BTreeSet<u64>,
    pub maps: BTreeSet<u64>,
    pub pins: BTreeSet<PathBuf>,
    /// Programs that are pinned with the node.
    shared: BTreeSet<u64>,
}

impl Footprint {
    /// What hangs on the pod's namespace and cgroup now, and what is pinned beside it.
    pub fn of(pod: &Pod) -> Result<Self> {
        let (netns, cgroup) = (pod.netns_inode()?, pod.cgroup_id()?);
        let mut footprint = Self::default();
        let mut directories = BTreeSet::new();
        for link in list("link")? {
            if number(&link, "netns_ino") == Some(netns) || number(&link, "cgroup_id") == Some(cgroup) {
                footprint.links.extend(number(&link, "id"));
                footprint.programs.extend(number(&link, "prog_id"));
                directories.extend(pinned(&link).filter_map(|path| workload_directory(&path)));
            }
        }
        footprint.add_pinned(&directories)?;
        footprint.add_maps(&directories)?;
        Ok(footprint)
    }

    /// Objects no link leads to (an sk_msg program, say) are pinned in the workload's directory.
    fn add_pinned(&mut self, directories: &BTreeSet<PathBuf>) -> Result<()> {
        for (kind, ids) in [("link", &mut self.links), ("prog", &mut self.programs), ("map", &mut self.maps)]
        {
            for object in list(kind)? {
                let paths =
                    pinned(&object).filter(|path| directories.iter().any(|dir| path.starts_with(dir)));
                let before = self.pins.len();
                self.pins.extend(paths);
                if self.pins.len() > before {
                    ids.extend(number(&object, "id"));
                }
            }
        }
        Ok(())
    }

    fn add_maps(&mut self, directories: &BTreeSet<PathBuf>) -> Result<()> {
        for program in list("prog")? {
            if number(&program, "id").is_some_and(|id| self.programs.contains(&id)) {
                let maps = program["map_ids"].as_array().map(Vec::as_slice).unwrap_or_default();
                self.maps.extend(maps.iter().filter_map(Value::as_u64));
            }
        }
        // What is pinned for the whole node stays as long as other workloads, those of other tests say, are there.
        let elsewhere =
            |object: &Value| pinned(object).any(|path| !directories.iter().any(|dir| path.starts_with(dir)));
        for map in list("map")?.iter().filter(|map| elsewhere(map)) {
            self.maps.retain(|id| Some(*id) != number(map, "id"));
        }
        for program in list("prog")?.iter().filter(|program| elsewhere(program)) {
            self.shared.extend(number(program, "id").filter(|id| self.programs.contains(id)));
        }
        Ok(())
    }

    /// Nothing at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of it is still there.
    pub fn remaining(&self) -> Result<Self> {
        let there = |kind, ids: &BTreeSet<u64>| -> Result<BTreeSet<u64>> {
            Ok(list(kind)?
                .iter()
                .filter_map(|object| number(object, "id"))
                .filter(|id| ids.contains(id))
                .collect())
        };
        Ok(Self {
            links: there("link", &self.links)?,
            programs: there("prog", &(&self.programs - &self.shared))?,
            maps: there("map", &self.maps)?,
            pins: self.pins.iter().filter(|path| path.exists()).cloned().collect(),
            shared: BTreeSet::new(),
        })
    }

    /// Waits until none of it is left; an error that names what is.
    pub fn assert_gone(&self) -> Result<()> {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let remaining = self.remaining()?;
            if remaining.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "left behind: {remaining:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// bpftool fails when an object goes while it lists: then it is asked again.
fn list(kind: &str) -> Result<Vec<Value>> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let output = Command::new("bpftool")
            .args(["--json", "--bpffs", kind, "list"])
            .output()
            .context("run bpftool (`apt-get install bpftool`)")?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout)
                .with_context(|| format!("bpftool {kind} list printed no JSON list"));
        }
        let reason = String::from_utf8_lossy(&output.stderr);
        ensure!(Instant::now() < deadline, "bpftool {kind} list: {reason}");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn number(object: &Value, field: &str) -> Option<u64> {
    object[field].as_u64()
}

fn pinned(object: &Value) -> impl Iterator<Item = PathBuf> {
    let paths = object["pinned"].as_array().map(Vec::as_slice).unwrap_or_default();
    paths.iter().filter_map(Value::as_str).map(PathBuf::from)
}

/// `/sys/fs/bpf/sidestep/<workload>`, from a pin below it.
fn workload_directory(pin: &Path) -> Option<PathBuf> {
    let mut parts = pin.components();
    let mut directory = PathBuf::new();
    for part in parts.by_ref() {
        directory.push(part);
        if part.as_os_str() == "sidestep" {
            directory.push(parts.next()?);
            return Some(directory);
        }
    }
    pin.parent().map(Path::to_owned)
}
