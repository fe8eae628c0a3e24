//! What `--version` says: the release, the commit and its date, and the layout of the pins.

use std::sync::LazyLock;

use proxy_plane::dataplane::LAYOUT;

static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} ({}, layout {LAYOUT})", env!("CARGO_PKG_VERSION"), env!("SIDESTEP_COMMIT")));

pub(super) fn version() -> &'static str {
    &VERSION
}
