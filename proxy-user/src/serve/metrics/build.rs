use std::fmt;

use proxy_plane::dataplane::LAYOUT;

use super::{Family, Kind, Page, Snapshot, Source};

static BUILD: Family = Family {
    name: "build",
    kind: Kind::Info,
    unit: None,
    help: "The sidestep that serves this page, and the layout of the pins it reads",
    labels: &["version", "layout"],
};

#[derive(Debug)]
pub(super) struct Build;

impl Source for Build {
    fn families(&self) -> Vec<&'static Family> {
        vec![&BUILD]
    }

    fn write(&self, page: &mut Page<'_>, _: &Snapshot) -> fmt::Result {
        page.family(&BUILD)?.info(&[env!("CARGO_PKG_VERSION"), &LAYOUT.to_string()])
    }
}
