//! Reading, and waiting for something to read.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::thread::JoinHandleExt;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::socket::{End, PATIENCE, Pair, QUIET, said, settle, shown};

pub(super) fn peek(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.send(b"12345", 0), client.send(b"678", 0)];
    settle();
    out.extend([server.recv(100, libc::MSG_PEEK), server.recv(2, libc::MSG_PEEK), server.recv(2, 0)]);
    out.extend([server.recv(100, libc::MSG_PEEK), server.recv(100, 0)]);
    out.join(", ")
}

fn queued(end: &End) -> String {
    let mut count: libc::c_int = -1;
    // SAFETY: FIONREAD writes one int.
    let result = unsafe { libc::ioctl(end.fd(), libc::FIONREAD, &raw mut count) };
    if result == 0 { count.to_string() } else { said(result as isize) }
}

pub(super) fn fionread(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![queued(server), client.send(b"12345", 0)];
    settle();
    out.extend([queued(server), client.send(b"678", 0)]);
    settle();
    out.extend([queued(server), server.recv(4, 0), queued(server), server.recv(100, 0), queued(server)]);
    out.join(", ")
}

pub(super) fn kinds(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = Vec::new();
    let mut buffer = [0u8; 100];
    let mut ask = |call: &mut dyn FnMut(&mut [u8]) -> isize| {
        out.push(client.send(b"hello world", 0));
        server.poll(libc::POLLIN, PATIENCE);
        let got = call(&mut buffer);
        out.push(shown(got, &buffer));
    };
    let fd = server.fd();
    // SAFETY (all of them): the buffer is writable for its length and outlives the call.
    // SAFETY: a live buffer and its length.
    ask(&mut |buffer| unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) });
    // SAFETY: as above.
    ask(&mut |buffer| unsafe {
        libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    });
    ask(&mut |buffer| {
        let (first, second) = buffer.split_at_mut(5);
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
        // SAFETY: IoSliceMut has the layout of iovec.
        unsafe { libc::readv(fd, parts.as_mut_ptr().cast(), 2) }
    });
    ask(&mut |buffer| {
        let (first, second) = buffer.split_at_mut(3);
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
        // SAFETY: all zeroes is a value of msghdr.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr().cast();
        message.msg_iovlen = 2;
        // SAFETY: the vector outlives the call.
        unsafe { libc::recvmsg(fd, &raw mut message, 0) }
    });
    out.join(", ")
}

pub(super) fn discard(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(b"12345678", 0);
    settle();
    // SAFETY: MSG_TRUNC discards, nothing is written.
    let gone = said(unsafe { libc::recv(server.fd(), std::ptr::null_mut(), 4, libc::MSG_TRUNC) });
    [sent, gone, server.recv(100, 0)].join(", ")
}

pub(super) fn waitall(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| server.recv_now(10, libc::MSG_WAITALL));
        settle();
        client.send(b"12345", 0);
        settle();
        client.send(b"67890", 0);
        reader.join().unwrap_or_default()
    })
}

pub(super) fn lowat(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![server.set(libc::SOL_SOCKET, libc::SO_RCVLOWAT, 8i32), client.send(b"12345", 0)];
    out.extend([
        server.poll(libc::POLLIN, QUIET),
        client.send(b"67890", 0),
        server.poll(libc::POLLIN, PATIENCE),
    ]);
    settle();
    out.push(server.recv_now(100, 0));
    out.join(", ")
}

pub(super) fn rcvtimeo(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    server.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, libc::timeval { tv_sec: 0, tv_usec: 100_000 });
    let started = Instant::now();
    let nothing = server.recv_now(100, 0);
    // It counts ticks, which come late on an emulated machine and make up for it: half of it is waiting, too.
    let waited = started.elapsed() >= Duration::from_millis(50);
    let sent = client.send(b"DATA", 0);
    settle();
    [nothing, waited.to_string(), sent, server.recv_now(100, 0)].join(", ")
}

pub(super) fn poll_timeout(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let started = Instant::now();
    let nothing = server.poll(libc::POLLIN, QUIET);
    let waited = started.elapsed() >= Duration::from_millis(QUIET as u64);
    let sent = client.send(b"DATA", 0);
    let then = server.poll(libc::POLLIN, PATIENCE);
    [nothing, waited.to_string(), sent, then, server.recv(100, 0), server.poll(libc::POLLIN, QUIET)]
        .join(", ")
}

/// Waits on `end` in an epoll set; the events of `count` waits, with `between` before each.
fn epoll(end: &End, flags: EpollFlags, count: usize, mut between: impl FnMut(usize) -> String) -> String {
    let set = || -> nix::Result<Epoll> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // SAFETY: the descriptor lives as long as the end.
        epoll.add(unsafe { BorrowedFd::borrow_raw(end.fd()) }, EpollEvent::new(flags, 0))?;
        Ok(epoll)
    };
    let Ok(epoll) = set() else { return "no epoll".to_owned() };
    let mut out = Vec::new();
    for step in 0..count {
        out.push(between(step));
        let mut events = [EpollEvent::empty()];
        out.push(match epoll.wait(&mut events, QUIET as u16) {
            Ok(0) => "nothing".to_owned(),
            Ok(_) => format!("{:?}", events[0].events()),
            Err(errno) => format!("{errno:?}"),
        });
    }
    out.join(", ")
}

pub(super) fn epoll_level(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    epoll(server, EpollFlags::EPOLLIN, 5, |step| match step {
        0 => String::new(),
        1 => client.send(b"12345678", 0),
        2 => server.recv(4, 0),
        3 => server.recv(4, 0),
        _ => client.send(b"again", 0),
    })
}

pub(super) fn epoll_edge(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    epoll(server, EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 5, |step| match step {
        0 => String::new(),
        1 => client.send(b"12345678", 0),
        // Nothing new: no event, though bytes are left.
        2 => server.recv(4, 0),
        3 => client.send(b"more", 0),
        _ => server.recv(100, 0),
    })
}

/// As nginx, tokio and Netty do (epoll(7), question 9): a read that fills less than its buffer was the last.
pub(super) fn epoll_edge_until_short(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let Ok(epoll) = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC) else { return "no epoll".to_owned() };
    let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
    // SAFETY: the descriptor lives as long as the end.
    let added = epoll.add(unsafe { BorrowedFd::borrow_raw(server.fd()) }, EpollEvent::new(flags, 0));
    // Else the later ones wait for an ACK, and are an event of their own.
    client.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1i32);
    let mut got = 0;
    // Many small ones, as of a program that writes line by line, with and without a large one behind them, and a large
    // one alone; the reader is late.
    for (lines, large) in [(24, 0), (24, 20_000), (0, 20_000), (24, 0)] {
        for _ in 0..lines {
            client.send(b"a line\r\n", 0);
        }
        client.send(&vec![b'x'; large], 0);
        settle();
        while epoll.wait(&mut [EpollEvent::empty()], QUIET as u16) == Ok(1) {
            let mut buffer = [0u8; 4096];
            loop {
                // SAFETY: a writable buffer and its length.
                let read = unsafe {
                    libc::recv(server.fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
                };
                got += read.max(0);
                if read < buffer.len() as isize {
                    break;
                }
            }
        }
    }
    format!("{added:?}, {got} bytes")
}

pub(super) fn epoll_rdhup(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    epoll(server, EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, 4, |step| match step {
        0 => client.send(b"DATA", 0),
        1 => client.shutdown(libc::SHUT_WR),
        2 => server.recv(100, 0),
        _ => server.recv(100, 0),
    })
}

pub(super) fn splice_out(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let Ok((from, to)) = nix::unistd::pipe() else { return "no pipe".to_owned() };
    let sent = client.send(b"DATA", 0);
    let poll = server.poll(libc::POLLIN, PATIENCE);
    // Where it does not see the data, a splice that may block does so for ever, SO_RCVTIMEO or not.
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(server.fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let (null, flags) = (std::ptr::null_mut(), libc::SPLICE_F_NONBLOCK);
    // SAFETY: no offsets.
    let moved = said(unsafe { libc::splice(server.fd(), null, to.as_raw_fd(), null, 4096, flags) });
    drop(to);
    let mut buffer = [0u8; 100];
    // SAFETY: a writable buffer and its length.
    let got = unsafe { libc::read(from.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    [sent, poll, moved, shown(got, &buffer)].join(", ")
}

extern "C" fn nothing(_: libc::c_int) {}

pub(super) fn signal_while_reading(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    // SAFETY: a handler that does nothing; all zeroes is a value of sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
    // A read with a timeout is not restarted (signal(7)).
    server.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, libc::timeval { tv_sec: 0, tv_usec: 0 });
    let fd = server.fd();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0u8; 100];
        // SAFETY: a writable buffer and its length.
        let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        shown(got, &buffer)
    });
    settle();
    // SAFETY: the thread is not joined yet.
    unsafe { libc::pthread_kill(reader.as_pthread_t(), libc::SIGUSR1) };
    settle();
    client.send(b"DATA", 0);
    reader.join().unwrap_or_default()
}
