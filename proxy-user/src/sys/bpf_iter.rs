//! The link of an iterator program over one map's elements: pinned, it is a file that lists them. aya's has no map.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::bpf::bpf;

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_TRACE_ITER: u32 = 28;

#[repr(C)]
struct CreateAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    info: u64,
    info_len: u32,
    pad: u32,
}

/// Links an iterator program to a map.
pub fn create(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // `union bpf_iter_link_info`: for maps its first word is a descriptor.
    let info = [map.as_raw_fd() as u32, 0, 0, 0];
    let mut attr = CreateAttr {
        prog_fd: prog.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: info.as_ptr() as u64,
        info_len: size_of_val(&info) as u32,
        pad: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
