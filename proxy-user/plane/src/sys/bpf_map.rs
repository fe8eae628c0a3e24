//! How many entries a map has.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::{
    bpf::bpf,
    bpf_batch::{BPF_MAP_LOOKUP_BATCH, BatchAttr, is_missing},
    bpf_map_elem,
};

/// A batch has to hold the fullest bucket of a hash map.
const BATCH: u32 = 4096;

/// Counts the entries of a hash map or a sockhash. What comes and goes meanwhile may be counted or not.
pub fn count(map: BorrowedFd<'_>, key_size: u32, value_size: u32, capacity: u32) -> io::Result<u32> {
    match count_batched(map, key_size, value_size) {
        Err(error) if is_missing(&error) || error.raw_os_error() == Some(libc::ENOSPC) => {
            count_keys(map, key_size, capacity)
        }
        other => other,
    }
}

fn count_batched(map: BorrowedFd<'_>, key_size: u32, value_size: u32) -> io::Result<u32> {
    let mut keys = vec![0u8; (key_size * BATCH) as usize];
    let mut values = vec![0u8; (value_size.next_multiple_of(8) * BATCH) as usize];
    // Hash maps keep a bucket's number there, others a key.
    let mut position = vec![0u8; key_size.max(4) as usize];
    let (mut found, mut begun) = (0, false);
    loop {
        let mut attr = BatchAttr {
            in_batch: if begun { position.as_ptr() as u64 } else { 0 },
            out_batch: position.as_mut_ptr() as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH,
            map_fd: map.as_raw_fd() as u32,
            elem_flags: 0,
            flags: 0,
        };
        let outcome = bpf(BPF_MAP_LOOKUP_BATCH, &mut attr);
        match outcome {
            Ok(_) => (found, begun) = (found + attr.count, true),
            // The last batch.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found + attr.count),
            Err(error) => return Err(error),
        }
    }
}

/// One call a key.
fn count_keys(map: BorrowedFd<'_>, key_size: u32, capacity: u32) -> io::Result<u32> {
    let mut found = 0;
    bpf_map_elem::each_key(map, key_size as usize, capacity, |_| {
        found += 1;
        Ok(())
    })?;
    Ok(found)
}
