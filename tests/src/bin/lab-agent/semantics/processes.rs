//! Sockets and the processes that hold them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use super::socket::{Pair, settle};

/// Runs `work` in a child that then ends without cleaning up; waits for it.
fn in_child(work: impl FnOnce()) -> String {
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            work();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        Ok(ForkResult::Parent { child }) => match waitpid(child, None) {
            Ok(status) => format!("{status:?}").split('(').next().unwrap_or_default().to_owned(),
            Err(errno) => format!("{errno:?}"),
        },
        Err(errno) => format!("{errno:?}"),
    }
}

fn write(fd: RawFd, data: &[u8]) {
    // SAFETY: a readable buffer and its length.
    unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) };
}

pub(super) fn killed_peer(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let fd = client.take();
    // SAFETY: this process has one thread.
    let ended = match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            write(fd, b"last words");
            // SAFETY: ends the child at once.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            String::new()
        }
        Ok(ForkResult::Parent { child }) => {
            // SAFETY: the parent's copy; the child has its own.
            unsafe { libc::close(fd) };
            waitpid(child, None).map_or_else(|errno| format!("{errno:?}"), |_| "killed".to_owned())
        }
        Err(errno) => format!("{errno:?}"),
    };
    [ended, server.recv(100, 0), server.recv(100, 0)].join(", ")
}

pub(super) fn shared(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let fd = client.fd();
    let mut out = vec![client.send(b"parent ", 0), in_child(|| write(fd, b"child "))];
    out.push(client.send(b"parent", 0));
    settle();
    out.push(server.recv(100, 0));
    out.extend([server.send(b"reply", 0), client.recv(100, 0)]);
    out.join(", ")
}

pub(super) fn passed(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::empty());
    let Ok((here, there)) = pair else { return "no socketpair".to_owned() };
    let fd = client.take();
    let parts = [IoSlice::new(b"x")];
    let rights = [fd];
    let message = [ControlMessage::ScmRights(&rights)];
    let before = server.send(b"to the other process", 0);
    settle();
    let sent = sendmsg::<()>(here.as_raw_fd(), &parts, &message, MsgFlags::empty(), None);
    // SAFETY: the message holds the socket now.
    unsafe { libc::close(fd) };
    let child = in_child(|| {
        let mut byte = [0u8; 1];
        let mut space = nix::cmsg_space!(RawFd);
        let mut parts = [IoSliceMut::new(&mut byte)];
        let got = recvmsg::<()>(there.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
        let mut messages = got.ok().and_then(|got| got.cmsgs().ok().map(Iterator::collect::<Vec<_>>));
        if let Some(ControlMessageOwned::ScmRights(fds)) = messages.as_mut().and_then(Vec::pop) {
            let mut buffer = [0u8; 100];
            // SAFETY: a writable buffer and its length.
            let got = unsafe { libc::recv(fds[0], buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            write(fds[0], &buffer[..usize::try_from(got).unwrap_or(0)]);
        }
    });
    // The message may still be in the queue of a child that did not take it.
    drop((here, there));
    [before, sent.is_ok().to_string(), child, server.recv(100, 0), server.recv(100, 0)].join(", ")
}

/// Accepted here, served there: the reading process is another one than the listening one.
pub(super) fn server_elsewhere(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(b"ping", 0);
    settle();
    let fd = server.fd();
    let child = in_child(|| {
        let mut buffer = [0u8; 100];
        // SAFETY: a writable buffer and its length.
        let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        write(fd, &buffer[..usize::try_from(got).unwrap_or(0)]);
    });
    server.close();
    [sent, child, client.recv(100, 0), client.recv(100, 0)].join(", ")
}
