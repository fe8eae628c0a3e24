//! BPF links: made, pointed to another program, taken apart. aya 0.14 can neither pin a sockopt link nor update one.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use super::bpf::bpf;

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;

/// `enum bpf_attach_type`, the ones in use (include/uapi/linux/bpf.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum AttachType {
    InetIngress = 0,
    InetEgress = 1,
    SockCreate = 2,
    SockOps = 3,
    Connect4 = 10,
    Connect6 = 11,
    Sendmsg4 = 14,
    Sendmsg6 = 15,
    Recvmsg4 = 19,
    Recvmsg6 = 20,
    Getsockopt = 21,
    Setsockopt = 22,
    Getpeername4 = 29,
    Getpeername6 = 30,
    Getsockname4 = 31,
    Getsockname6 = 32,
    Bind4 = 8,
    Bind6 = 9,
    SockRelease = 34,
    SkLookup = 36,
    LsmCgroup = 43,
    TcxIngress = 46,
    TcxEgress = 47,
}

#[repr(C)]
struct CreateAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct UpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[repr(C)]
struct DetachAttr {
    link_fd: u32,
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

#[repr(C)]
struct IdAttr {
    id: u32,
}

/// `struct bpf_link_info`, its head.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    target: [u64; 4],
}

/// Attaches a program to a cgroup or a network namespace. Without flags a cgroup link is always "multi".
pub fn create(prog: BorrowedFd<'_>, target: BorrowedFd<'_>, kind: AttachType) -> io::Result<OwnedFd> {
    create_on(prog, target.as_raw_fd() as u32, kind)
}

/// Attaches a tc program to an interface of the caller's network namespace, behind those that are there (>= 6.6).
pub fn create_on_interface(prog: BorrowedFd<'_>, index: u32, kind: AttachType) -> io::Result<OwnedFd> {
    create_on(prog, index, kind)
}

fn create_on(prog: BorrowedFd<'_>, target: u32, kind: AttachType) -> io::Result<OwnedFd> {
    let mut attr = CreateAttr {
        prog_fd: prog.as_raw_fd() as u32,
        target_fd: target,
        attach_type: kind as u32,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts another program in the place of the link's, atomically.
pub fn update(link: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = UpdateAttr {
        link_fd: link.as_raw_fd() as u32,
        new_prog_fd: prog.as_raw_fd() as u32,
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches, though the link may be pinned or open elsewhere.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &mut DetachAttr { link_fd: link.as_raw_fd() as u32 }).map(drop)
}

/// What a link hangs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttachedTo {
    /// The cgroup's id; 0 once it is detached or the cgroup is gone.
    Cgroup(u64),
    /// The inode number of the network namespace; 0 likewise.
    Netns(u32),
    Other,
}

/// The id of the link's program.
pub fn program_id(link: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(info(link)?.prog_id)
}

/// Whether what the link was made on is still there; only for links on interfaces.
pub fn is_attached(link: BorrowedFd<'_>) -> io::Result<bool> {
    // An interface's number; 0 once it is gone.
    Ok(info(link)?.target[0] as u32 != 0)
}

/// What the link hangs on (kernel/bpf/cgroup.c and net_namespace.c: fill_link_info).
pub fn attached_to(link: BorrowedFd<'_>) -> io::Result<AttachedTo> {
    const BPF_LINK_TYPE_CGROUP: u32 = 3;
    const BPF_LINK_TYPE_NETNS: u32 = 5;
    let info = info(link)?;
    Ok(match info.kind {
        BPF_LINK_TYPE_CGROUP => AttachedTo::Cgroup(info.target[0]),
        // A u32, followed by the attach type.
        BPF_LINK_TYPE_NETNS => {
            let [a, b, c, d, ..] = info.target[0].to_ne_bytes();
            AttachedTo::Netns(u32::from_ne_bytes([a, b, c, d]))
        }
        _ => AttachedTo::Other,
    })
}

fn info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        fd: link.as_raw_fd() as u32,
        len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// A program by id, so that an update can be taken back.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut [IdAttr { id }, IdAttr { id: 0 }, IdAttr { id: 0 }])?;
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
