//! What a bench leaves behind.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Writes these into a directory, which is made.
pub(crate) fn write<const N: usize>(directory: &Path, files: [(&str, String); N]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    for (name, text) in files {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
