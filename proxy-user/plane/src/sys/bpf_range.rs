//! Elements of an array that lie side by side, in one call where the kernel has it.

use std::{io, os::fd::BorrowedFd};

use super::{
    bpf_batch::{self, is_missing},
    bpf_map_elem,
};

/// The values of `count` elements from `first` on, one after the other. `size`: of one, as the kernel copies it; of an
/// array by processor that is a multiple of eight for each possible one.
pub fn read(map: BorrowedFd<'_>, first: u32, count: u32, size: usize) -> io::Result<Vec<u8>> {
    match read_batched(map, first, count, size) {
        // Arrays have batches from 5.6 on, arrays by processor from 5.13.
        Err(error) if is_missing(&error) => read_each(map, first, count, size),
        other => other,
    }
}

fn read_batched(map: BorrowedFd<'_>, first: u32, count: u32, size: usize) -> io::Result<Vec<u8>> {
    let mut keys = vec![0u8; size_of::<u32>() * count as usize];
    let mut values = vec![0u8; size * count as usize];
    // The batch begins behind this one.
    let mut position = first.wrapping_sub(1).to_ne_bytes();
    let copied = bpf_batch::lookup(map, &mut position, first > 0, &mut keys, &mut values, count)?;
    let complete = copied.elements == count as usize;
    complete.then_some(values).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

fn read_each(map: BorrowedFd<'_>, first: u32, count: u32, size: usize) -> io::Result<Vec<u8>> {
    let mut values = vec![0u8; size * count as usize];
    for (index, value) in (first..).zip(values.chunks_exact_mut(size)) {
        if !bpf_map_elem::lookup(map, &index.to_ne_bytes(), value)? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
    Ok(values)
}
