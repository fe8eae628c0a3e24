//! BPF_MAP_CREATE, for maps that no object describes.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
};

use super::bpf::{self, bpf};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_LRU_HASH: u32 = 9;
const BPF_MAP_TYPE_SOCKMAP: u32 = 15;

/// The head of the attributes.
#[repr(C)]
#[derive(Default)]
struct CreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// A sockmap with one place, to see whether the kernel makes any.
pub fn sockmap() -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: BPF_MAP_TYPE_SOCKMAP,
        key_size: size_of::<u32>() as u32,
        value_size: size_of::<u32>() as u32,
        max_entries: 1,
        ..CreateAttr::default()
    })
}

/// An array.
pub fn array(name: &str, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: size_of::<u32>() as u32,
        value_size,
        max_entries,
        map_name: bpf::name(name),
        ..CreateAttr::default()
    })
}

/// A hash in which a new entry takes the room of the one used least recently.
pub fn lru_hash(name: &str, key_size: u32, value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    create(CreateAttr {
        map_type: BPF_MAP_TYPE_LRU_HASH,
        key_size,
        value_size,
        max_entries,
        map_name: bpf::name(name),
        ..CreateAttr::default()
    })
}

fn create(mut attr: CreateAttr) -> io::Result<OwnedFd> {
    let fd = bpf(BPF_MAP_CREATE, &mut attr)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
