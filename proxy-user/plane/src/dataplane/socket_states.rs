//! What the programs remember of sockets, as userspace opens it.

use std::path::Path;

use anyhow::Result;
use aya::maps::{Map, MapData, SkStorage};
use proxy_common::{names::map, wire::SocketState};

use super::{pins::pinned, wire::Raw};

/// The storage that is pinned in a directory.
pub(super) fn open(dir: &Path) -> Result<SkStorage<MapData, Raw<SocketState>>> {
    Ok(SkStorage::try_from(Map::SkStorage(pinned(dir, map::SOCKETS)?))?)
}
