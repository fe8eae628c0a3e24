//! One element of a map, or one after the other, as bytes: for maps aya has no type for, and where its types cost more
//! than the call.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use super::bpf::bpf;

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;

/// `value` is the next key where that is asked for.
#[repr(C)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Writes an element. `key` and `value` are as long as the map's.
pub fn update(map: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> io::Result<()> {
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
}

/// Stores a descriptor at an index.
pub fn set_fd(map: BorrowedFd<'_>, index: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
    update(map, &index.to_ne_bytes(), &fd.as_raw_fd().to_ne_bytes(), 0)
}

/// Empties an index. False: it was empty.
pub fn clear(map: BorrowedFd<'_>, index: u32) -> io::Result<bool> {
    delete(map, &index.to_ne_bytes())
}

/// Reads an element into `value`. False: there is none.
pub fn lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = ElemAttr {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    found(bpf(BPF_MAP_LOOKUP_ELEM, &mut attr))
}

/// Removes an element. False: there was none.
pub fn delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr =
        ElemAttr { map_fd: map.as_raw_fd() as u32, pad: 0, key: key.as_ptr() as u64, value: 0, flags: 0 };
    // A place of a sockmap that is empty is EINVAL.
    match bpf(BPF_MAP_DELETE_ELEM, &mut attr) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        other => found(other),
    }
}

/// Calls `visit` with each key. Keys that come and go meanwhile may be met twice, or not at all; one that goes sends the
/// kernel back to the first: `most` ends that.
pub fn each_key(
    map: BorrowedFd<'_>,
    key_size: usize,
    most: u32,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut key, mut next) = (vec![0u8; key_size], vec![0u8; key_size]);
    for met in 0..most {
        let mut attr = ElemAttr {
            map_fd: map.as_raw_fd() as u32,
            pad: 0,
            key: if met == 0 { 0 } else { key.as_ptr() as u64 },
            value: next.as_mut_ptr() as u64,
            flags: 0,
        };
        if !found(bpf(BPF_MAP_GET_NEXT_KEY, &mut attr))? {
            break;
        }
        visit(&next)?;
        std::mem::swap(&mut key, &mut next);
    }
    Ok(())
}

fn found(result: io::Result<libc::c_int>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
