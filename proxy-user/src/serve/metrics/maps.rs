use std::fmt;

use super::{Family, Kind, Page, Snapshot, Source};

static ENTRIES: Family = Family {
    name: "map_entries",
    kind: Kind::Gauge,
    unit: None,
    help: "Entries of a map that can fill up: what a workload has of it; without a workload: all there are, of those that no \
           workload has a share of as of a minute ago at most",
    labels: &["workload", "namespace", "map"],
};

static CAPACITY: Family = Family {
    name: "map_capacity_entries",
    kind: Kind::Gauge,
    unit: None,
    help: "Entries that fit into the map; of a workload: its share",
    labels: &["workload", "namespace", "map"],
};

#[derive(Debug)]
pub(super) struct Maps;

impl Source for Maps {
    fn families(&self) -> Vec<&'static Family> {
        vec![&ENTRIES, &CAPACITY]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut entries = page.family(&ENTRIES)?;
        for (owner, usage) in seen.usages() {
            entries.gauge(&[owner[0], owner[1], usage.map], f64::from(usage.entries))?;
        }
        let mut capacity = page.family(&CAPACITY)?;
        for (owner, usage) in seen.usages() {
            capacity.gauge(&[owner[0], owner[1], usage.map], f64::from(usage.capacity))?;
        }
        Ok(())
    }
}
