//! Which process has which socket open.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd, RawFd},
        unix::fs::MetadataExt as _,
    },
};

use anyhow::{Context, Result};

use super::Netns;
use crate::sys::pidfd;

/// One descriptor of one process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSocket {
    pub inode: u64,
    pub pid: i32,
    descriptor: RawFd,
}

impl OpenSocket {
    /// A copy of the socket. Needs CAP_SYS_PTRACE over the process.
    pub fn borrow(&self) -> io::Result<OwnedFd> {
        let process = pidfd::open(self.pid)?;
        pidfd::getfd(process.as_fd(), self.descriptor)
    }
}

/// Processes visible here that are in `netns`, or all of them. One whose namespace cannot be read counts as one.
pub fn processes(netns: Option<&Netns>) -> Result<impl Iterator<Item = i32> + use<>> {
    let home = netns.map(|netns| netns.id().ino);
    let entries = fs::read_dir("/proc").context("list /proc")?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(move |pid| !home.is_some_and(|home| is_elsewhere(*pid, home))))
}

fn is_elsewhere(pid: i32, home: u64) -> bool {
    match netns_of(pid) {
        Ok(netns) => netns != home,
        // It has ended: a zombie has no namespace any more. Where looking is not allowed it may be one of ours.
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Inode number of a process's network namespace.
pub fn netns_of(pid: i32) -> io::Result<u64> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino())
}

/// Sockets those processes have open, one process after the other.
pub fn open_sockets(netns: Option<&Netns>) -> Result<impl Iterator<Item = OpenSocket> + use<>> {
    Ok(processes(netns)?.flat_map(sockets_of))
}

/// Sockets a process has open.
pub(crate) fn sockets_of(pid: i32) -> Vec<OpenSocket> {
    // It ended meanwhile, or is not ours to look into.
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
            Some(OpenSocket { inode, pid, descriptor: entry.file_name().to_str()?.parse().ok()? })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_socket_is_found_and_can_be_borrowed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let inode = super::super::listeners::listeners(None)
            .unwrap()
            .into_iter()
            .find(|listener| listener.addr == at)
            .unwrap()
            .inode;
        let own = i32::try_from(std::process::id()).unwrap();
        let found = open_sockets(None).unwrap().find(|socket| socket.inode == inode && socket.pid == own);
        let copy = std::net::TcpListener::from(found.unwrap().borrow().unwrap());
        assert_eq!(copy.local_addr().unwrap(), at);
    }
}
