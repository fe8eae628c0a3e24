use std::fmt;

use prometheus_client::registry::Unit;

use super::{Family, Kind, Page, Snapshot, Source};

static DURATION: Family = Family {
    name: "scrape_duration",
    kind: Kind::Gauge,
    unit: Some(Unit::Seconds),
    help: "How long the kernel's maps were read for this page",
    labels: &[],
};

#[derive(Debug)]
pub(super) struct Scrape;

impl Source for Scrape {
    fn families(&self) -> Vec<&'static Family> {
        vec![&DURATION]
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        page.family(&DURATION)?.gauge(&[], seen.duration.as_secs_f64())
    }
}
