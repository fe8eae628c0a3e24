//! The user namespace that owns another namespace: ioctl_nsfs(2).
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// `_IO(0xb7, 1)`.
const NS_GET_USERNS: libc::Ioctl = 0xb701;

pub fn owning_userns(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: an open descriptor; the call takes no argument.
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor the kernel has just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
