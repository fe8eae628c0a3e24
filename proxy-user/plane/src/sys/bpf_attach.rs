//! A sockmap's program: it stays with the map, whoever attached it (aya detaches it on drop), and it may keep a map.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use super::bpf::bpf;

const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_DETACH: libc::c_int = 9;
const BPF_PROG_BIND_MAP: libc::c_int = 35;
const BPF_SK_MSG_VERDICT: u32 = 7;

#[repr(C)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Sockets that enter the map from now on run `prog` for each message.
pub fn sk_msg_verdict(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_PROG_ATTACH, &mut verdict(prog, map)).map(drop)
}

/// Takes its program from the map. Sockets that are in the map keep the one they entered with.
pub fn no_sk_msg_verdict(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_PROG_DETACH, &mut verdict(prog, map)).map(drop)
}

fn verdict(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> AttachAttr {
    AttachAttr {
        target_fd: map.as_raw_fd() as u32,
        attach_bpf_fd: prog.as_raw_fd() as u32,
        attach_type: BPF_SK_MSG_VERDICT,
        attach_flags: 0,
    }
}

#[repr(C)]
struct BindAttr {
    prog_fd: u32,
    map_fd: u32,
    flags: u32,
}

/// The program keeps the map for as long as it lives itself.
pub fn keep_map(prog: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = BindAttr { prog_fd: prog.as_raw_fd() as u32, map_fd: map.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_PROG_BIND_MAP, &mut attr).map(drop)
}
