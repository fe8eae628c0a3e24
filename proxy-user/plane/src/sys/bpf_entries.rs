//! The entries of a map, many in one call.

use std::{io, os::fd::BorrowedFd};

use super::{
    bpf_batch::{self, is_missing},
    bpf_map_elem,
};

/// A batch has to hold the fullest bucket. One that does not is tried again with four times as many. More at once would be
/// fewer calls, and memory that is touched for them each time.
const BATCH: u32 = 128;

/// Of a map, in bytes and entries. `value`: as the kernel copies it; of a map by processor that is a multiple of eight for
/// each possible one.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub key: usize,
    pub value: usize,
    pub capacity: u32,
}

/// How many a map has, where older kernels have no batches too. What comes and goes meanwhile may be counted or not.
pub fn count(map: BorrowedFd<'_>, sizes: Sizes) -> io::Result<u32> {
    let mut found = 0;
    each_batch(map, sizes, |keys, _| found += (keys.len() / sizes.key) as u32).or_else(|error| {
        if !is_missing(&error) {
            return Err(error);
        }
        found = 0;
        bpf_map_elem::each_key(map, sizes.key, sizes.capacity, |_| {
            found += 1;
            Ok(())
        })
    })?;
    Ok(found)
}

/// Calls `visit` with each key and value of a hash map. What comes and goes meanwhile may be met or not.
pub fn each(map: BorrowedFd<'_>, sizes: Sizes, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
    each_batch(map, sizes, |keys, values| {
        keys.chunks_exact(sizes.key)
            .zip(values.chunks_exact(sizes.value))
            .for_each(|(key, value)| visit(key, value));
    })
}

/// Calls `visit` with the keys and the values of each batch.
fn each_batch(map: BorrowedFd<'_>, of: Sizes, mut visit: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    // Hash maps keep a bucket's number there, others a key.
    let mut position = vec![0u8; of.key.max(4)];
    let (mut begun, mut batch) = (false, BATCH.min(of.capacity));
    loop {
        keys.resize(of.key * batch as usize, 0);
        values.resize(of.value * batch as usize, 0);
        let copied = match bpf_batch::lookup(map, &mut position, begun, &mut keys, &mut values, batch) {
            // The bucket that is next has more.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch < of.capacity => {
                batch = batch.saturating_mul(4).min(of.capacity);
                continue;
            }
            other => other?,
        };
        visit(&keys[..copied.elements * of.key], &values[..copied.elements * of.value]);
        if copied.is_all {
            return Ok(());
        }
        begun = true;
    }
}
