//! Cookies: the numbers by which BPF knows a network namespace (>= 5.14) and a socket.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the namespace the socket was made in.
pub fn netns_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    get(socket, SO_NETNS_COOKIE)
}

/// The socket's own.
pub fn socket_cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    get(socket, libc::SO_COOKIE)
}

fn get(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<u64> {
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: a value of the option's size, and its length.
    let ret = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut cookie).cast(), &raw mut len)
    };
    if ret == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}
