use std::fmt;

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::snapshot::names;

static AROUND: Family = Family {
    name: "around_sidecar_connections",
    kind: Kind::Counter,
    unit: None,
    help: "Connections from outside that reached an application without its sidecar and have ended since this server \
           began, by its port; after eight ports of a workload, and for good, the further ones are `other`",
    labels: &["workload", "namespace", "port"],
};

#[derive(Debug)]
pub(super) struct Around;

impl Source for Around {
    fn families(&self) -> Vec<&'static Family> {
        vec![&AROUND]
    }

    fn values(&self) -> Vec<Values> {
        vec![Values { label: "port", of: vec![&AROUND], values: vec![("other", "none of the first eight")] }]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut around = page.family(&AROUND)?;
        for workload in &seen.workloads {
            let [name, namespace] = names(workload);
            let Some(of) = seen.around.get(name) else { continue };
            for (port, count) in &of.ports {
                around.count(&[name, namespace, &port.to_string()], *count)?;
            }
            if of.others > 0 {
                around.count(&[name, namespace, "other"], of.others)?;
            }
        }
        Ok(())
    }
}
