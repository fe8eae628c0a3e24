//! JSON in a pinned map, because a bpffs holds no files: who is attached and how, and what is known of the kernel.

use std::{os::fd::AsFd as _, path::Path};

use anyhow::{Context, Result, ensure};
use aya::maps::{MapInfo, MapType};
use proxy_common::wire::MetaChunk;
use serde::{Serialize, de::DeserializeOwned};

use crate::sys::{bpf_map_create, bpf_map_elem, bpf_pin, bpf_range};

const CHUNK: usize = size_of::<MetaChunk>();

/// Writes a new map and pins it. `name` is what tools show.
pub(super) fn pin(value: &impl Serialize, name: &str, path: &Path) -> Result<()> {
    let json = serde_json::to_vec(value).with_context(|| format!("encode {name}"))?;
    let chunks = u32::try_from(json.len().div_ceil(CHUNK).max(1)).context("its length")?;
    let map =
        bpf_map_create::array(name, CHUNK as u32, chunks).with_context(|| format!("make map {name}"))?;
    for (index, piece) in (0u32..).zip(json.chunks(CHUNK)) {
        let mut chunk: MetaChunk = [0; CHUNK];
        chunk[..piece.len()].copy_from_slice(piece);
        bpf_map_elem::update(map.as_fd(), &index.to_ne_bytes(), &chunk, 0)
            .with_context(|| format!("fill map {name}"))?;
    }
    bpf_pin::pin(map.as_fd(), path).with_context(|| format!("pin {}", path.display()))
}

/// Reads it back.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let info = MapInfo::from_pin(path).with_context(|| format!("open {}", path.display()))?;
    let json = read_all(&info).with_context(|| format!("read {}", path.display()))?;
    let end = json.iter().position(|byte| *byte == 0).unwrap_or(json.len());
    serde_json::from_slice(&json[..end]).with_context(|| format!("decode {}", path.display()))
}

fn read_all(info: &MapInfo) -> Result<Vec<u8>> {
    let array = info.map_type()? == MapType::Array && info.value_size() as usize == CHUNK;
    ensure!(array, "it is no array of {CHUNK} bytes each");
    Ok(bpf_range::read(info.fd()?.as_fd(), 0, info.max_entries(), CHUNK)?)
}
