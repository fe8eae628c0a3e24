use std::fmt;

use proxy_plane::flows::Reader;

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static STUCK: Family = Family {
    name: "stuck_connections",
    kind: Kind::Gauge,
    unit: None,
    help: "Open connections on which bytes wait that nobody has taken for a minute (--stuck-after), by who should: \
           docs/flows.md; where there are none there is no series",
    labels: &["workload", "namespace", "reader"],
};

#[derive(Debug)]
pub(super) struct Stuck;

impl Source for Stuck {
    fn families(&self) -> Vec<&'static Family> {
        vec![&STUCK]
    }

    fn values(&self) -> Vec<Values> {
        let readers = Reader::ALL.iter().map(|reader| (reader.name(), reader.describe())).collect();
        vec![Values { label: "reader", of: vec![&STUCK], values: readers }]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut stuck = page.family(&STUCK)?;
        for workload in &seen.workloads {
            let [name, namespace] = names(workload);
            for reader in Reader::ALL {
                let count = seen.stuck.as_ref().and_then(|all| all.get(&(name.to_owned(), reader)));
                if let Some(count) = count {
                    stuck.gauge(&[name, namespace, reader.name()], *count as f64)?;
                }
            }
        }
        Ok(())
    }
}
