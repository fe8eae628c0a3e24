//! The container image of sidestep, as `cargo xtask image` packs it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::agent::repository;

/// What it is called.
pub const NAME: &str = concat!("localhost/sidestep:", env!("CARGO_PKG_VERSION"));

/// Where it is: `SIDESTEP_IMAGE`, else that of the clone.
///
/// # Errors
/// Says how to make one.
pub fn path() -> Result<PathBuf> {
    let named = std::env::var_os("SIDESTEP_IMAGE").map(PathBuf::from);
    let path = named.unwrap_or_else(|| repository().join("target/image/sidestep.oci.tar"));
    ensure!(path.is_file(), "no image at {}: `cargo xtask image`, or set SIDESTEP_IMAGE", path.display());
    Ok(path)
}
