//! A connected pair, and system calls that say what they answered.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

/// Longest anything may take before it counts as stuck.
pub(super) const PATIENCE: i32 = 1500;
/// How long something that is not to happen is waited for.
pub(super) const QUIET: i32 = 60;

/// Both ends of a connection over loopback.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
}

/// One end; closes when dropped.
#[derive(Debug)]
pub(super) struct End(Option<OwnedFd>);

impl Pair {
    pub(super) fn connect(nonblocking: bool) -> Result<Self> {
        // A listener of its own: what one server did says nothing about the next.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        // An event loop's is non-blocking, as what it accepts.
        listener.set_nonblocking(nonblocking)?;
        let flags = if nonblocking { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
        let client = socket(AddressFamily::Inet, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)?;
        let address: SocketAddr = listener.local_addr()?;
        match connect(client.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno).context("connect"),
        }
        let client = End(Some(client));
        client.poll(libc::POLLOUT, PATIENCE);
        let raw = flags.bits() | libc::SOCK_CLOEXEC;
        // SAFETY: no address is asked for.
        let fd =
            unsafe { libc::accept4(listener.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), raw) };
        let fd = Errno::result(fd).context("accept")?;
        // SAFETY: a descriptor the kernel has just made for us.
        let server = unsafe { OwnedFd::from_raw_fd(fd) };
        let pair = Self { client, server: End(Some(server)) };
        for end in [&pair.client, &pair.server] {
            let patience = libc::timeval {
                tv_sec: i64::from(PATIENCE) / 1000,
                tv_usec: i64::from(PATIENCE) % 1000 * 1000,
            };
            end.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, patience);
            end.set(libc::SOL_SOCKET, libc::SO_SNDTIMEO, patience);
        }
        Ok(pair)
    }
}

/// `5`, or the errno's name.
pub(super) fn said(result: isize) -> String {
    match Errno::result(result) {
        Ok(value) => value.to_string(),
        Err(errno) => format!("{errno:?}"),
    }
}

impl End {
    pub(super) fn fd(&self) -> RawFd {
        self.0.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub(super) fn close(&mut self) {
        self.0 = None;
    }

    /// Gives the descriptor away.
    pub(super) fn take(&mut self) -> RawFd {
        self.0.take().map_or(-1, IntoRawFd::into_raw_fd)
    }

    pub(super) fn set<T>(&self, level: i32, option: i32, value: T) -> String {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value outlives the call and has that length.
        said(unsafe { libc::setsockopt(self.fd(), level, option, (&raw const value).cast(), length) } as isize)
    }

    pub(super) fn send(&self, data: &[u8], flags: i32) -> String {
        // SAFETY: a readable buffer and its length.
        said(unsafe { libc::send(self.fd(), data.as_ptr().cast(), data.len(), flags | libc::MSG_NOSIGNAL) })
    }

    /// Waits for something to read (event loops; a blocking socket waits by itself), then receives once.
    pub(super) fn recv(&self, length: usize, flags: i32) -> String {
        self.poll(libc::POLLIN, PATIENCE);
        self.recv_now(length, flags)
    }

    /// `5 hello`, or the errno's name. What is not text shows as its length alone.
    pub(super) fn recv_now(&self, length: usize, flags: i32) -> String {
        let mut buffer = vec![0u8; length];
        // SAFETY: a writable buffer and its length.
        let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), length, flags) };
        shown(got, &buffer)
    }

    /// Receives until `length` bytes came, the end, or an error: how many in all, whether they are a [`pattern`], and
    /// how it ended.
    pub(super) fn recv_all(&self, length: usize) -> String {
        let mut got = Vec::new();
        let mut buffer = vec![0u8; 65_536];
        let ending = loop {
            if got.len() >= length {
                break "whole".to_owned();
            }
            if self.poll(libc::POLLIN, PATIENCE) == "nothing" {
                break "stuck".to_owned();
            }
            // SAFETY: a writable buffer and its length.
            let read = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match Errno::result(read) {
                Ok(0) => break "end".to_owned(),
                Ok(read) => got.extend_from_slice(&buffer[..read as usize]),
                // Before the peer's data a blocking reader may be woken for nothing: see the table of differences.
                Err(Errno::EAGAIN) => {}
                Err(errno) => break format!("{errno:?}"),
            }
        };
        let right = got == pattern(got.len());
        format!("{} bytes, {}, {ending}", got.len(), if right { "right" } else { "WRONG" })
    }

    /// What of `events` is there within `milliseconds`.
    pub(super) fn poll(&self, events: i16, milliseconds: i32) -> String {
        let mut waiting = libc::pollfd { fd: self.fd(), events, revents: 0 };
        // SAFETY: one element.
        let ready = unsafe { libc::poll(&raw mut waiting, 1, milliseconds) };
        if ready == 0 {
            return "nothing".to_owned();
        }
        let names = [
            (libc::POLLIN, "IN"),
            (libc::POLLOUT, "OUT"),
            (libc::POLLPRI, "PRI"),
            (libc::POLLERR, "ERR"),
            (libc::POLLHUP, "HUP"),
            (libc::POLLRDHUP, "RDHUP"),
        ];
        let found: Vec<&str> =
            names.iter().filter(|(bit, _)| waiting.revents & bit != 0).map(|(_, name)| *name).collect();
        found.join("+")
    }

    pub(super) fn shutdown(&self, how: i32) -> String {
        // SAFETY: no memory is involved.
        said(unsafe { libc::shutdown(self.fd(), how) } as isize)
    }

    /// Closes with a reset.
    pub(super) fn reset(&mut self) {
        self.set(libc::SOL_SOCKET, libc::SO_LINGER, libc::linger { l_onoff: 1, l_linger: 0 });
        self.close();
    }

    pub(super) fn is_nonblocking(&self) -> bool {
        // SAFETY: no memory is involved.
        unsafe { libc::fcntl(self.fd(), libc::F_GETFL) & libc::O_NONBLOCK != 0 }
    }
}

pub(super) fn shown(got: isize, buffer: &[u8]) -> String {
    match Errno::result(got) {
        Ok(0) => "end".to_owned(),
        Ok(got) => format!("{got} {}", String::from_utf8_lossy(&buffer[..(got as usize).min(40)])),
        Err(errno) => format!("{errno:?}"),
    }
}

/// Bytes that show what is missing or out of place.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}

/// Lets what is on its way arrive.
pub(super) fn settle() {
    std::thread::sleep(Duration::from_millis(20));
}
