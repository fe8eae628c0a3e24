//! Elements of an array that lie side by side, in one call where the kernel has it.
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
    let mut keys = vec![0u32; count as usize];
    let mut values = vec![0u8; size * count as usize];
    // The batch begins behind this one.
    let before = first.wrapping_sub(1);
    let mut last = 0u32;
    let mut attr = BatchAttr {
        in_batch: if first == 0 { 0 } else { std::ptr::from_ref(&before) as u64 },
        out_batch: std::ptr::from_mut(&mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: map.as_raw_fd() as u32,
        elem_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        // The array's last elements were among them.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    let complete = attr.count == count;
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
