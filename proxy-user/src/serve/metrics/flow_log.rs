use std::fmt;

use super::{Family, Kind, Page, Snapshot, Source, Values};
use crate::serve::flow_log::Lost;

static RECORDS: Family = Family {
    name: "flow_log_records",
    kind: Kind::Counter,
    unit: None,
    help: "Records written to the flow log (--flow-log; else there is no series)",
    labels: &[],
};

static LOST: Family = Family {
    name: "flow_log_lost",
    kind: Kind::Counter,
    unit: None,
    help: "Records that are missing in the flow log",
    labels: &["reason"],
};

#[derive(Debug)]
pub(super) struct FlowLog;

impl Source for FlowLog {
    fn families(&self) -> Vec<&'static Family> {
        vec![&RECORDS, &LOST]
    }

    fn values(&self) -> Vec<Values> {
        let reasons = Lost::ALL.iter().map(|why| (why.name(), why.describe())).collect();
        vec![Values { label: "reason", of: vec![&LOST], values: reasons }]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let mut records = page.family(&RECORDS)?;
        if let Some(log) = &seen.flow_log {
            records.count(&[], log.written())?;
        }
        let mut lost = page.family(&LOST)?;
        if let Some(log) = &seen.flow_log {
            Lost::ALL.iter().try_for_each(|why| lost.count(&[why.name()], log.lost(*why)))?;
        }
        Ok(())
    }
}
