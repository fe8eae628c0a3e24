//! Writing.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::socket::{PATIENCE, Pair, QUIET, pattern, said, settle};

pub(super) fn many_small(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(3000);
    let wrong: Vec<String> =
        all.chunks(3).map(|chunk| client.send(chunk, 0)).filter(|said| said != "3").collect();
    settle();
    format!("{wrong:?}, {}", server.recv_all(3000))
}

pub(super) fn large(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            while sent < all.len() {
                client.poll(libc::POLLOUT, PATIENCE);
                sent += client.send(&all[sent..], 0).parse().unwrap_or(0);
            }
        });
        server.recv_all(1 << 20)
    })
}

pub(super) fn vectors(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(5000);
    let parts = [IoSlice::new(&all[..1]), IoSlice::new(&all[1..1]), IoSlice::new(&all[1..2000])];
    // SAFETY: IoSlice has the layout of iovec.
    let written = said(unsafe { libc::writev(client.fd(), parts.as_ptr().cast(), 3) });
    let rest = [IoSlice::new(&all[2000..3000]), IoSlice::new(&all[3000..])];
    // SAFETY: all zeroes is a value of msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = rest.as_ptr().cast_mut().cast();
    message.msg_iovlen = 2;
    // SAFETY: the vector outlives the call.
    let sent = said(unsafe { libc::sendmsg(client.fd(), &raw const message, libc::MSG_NOSIGNAL) });
    settle();
    [written, sent, server.recv_all(5000)].join(", ")
}

fn file_of(content: &[u8]) -> Option<OwnedFd> {
    // SAFETY: a C string.
    let fd = unsafe { libc::memfd_create(c"content".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a descriptor the kernel has just made for us.
    let file = (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })?;
    nix::unistd::write(&file, content).ok()?;
    Some(file)
}

pub(super) fn sendfile(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let Some(file) = file_of(&pattern(50_000)) else { return "no file".to_owned() };
    let mut offset: libc::off_t = 0;
    // SAFETY: the offset outlives the call.
    let sent = said(unsafe { libc::sendfile(client.fd(), file.as_raw_fd(), &raw mut offset, 50_000) });
    settle();
    [sent, server.recv_all(50_000)].join(", ")
}

pub(super) fn splice_in(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let Ok((from, to)) = nix::unistd::pipe() else { return "no pipe".to_owned() };
    if nix::unistd::write(&to, &pattern(20_000)).is_err() {
        return "no pipe".to_owned();
    }
    let null = std::ptr::null_mut();
    // SAFETY: no offsets.
    let moved = said(unsafe { libc::splice(from.as_raw_fd(), null, client.fd(), null, 20_000, 0) });
    settle();
    [moved, server.recv_all(20_000)].join(", ")
}

pub(super) fn nodelay(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.set(libc::SOL_TCP, libc::TCP_NODELAY, 1i32)];
    for word in [&b"one"[..], b"two"] {
        out.extend([client.send(word, 0), server.recv(100, 0)]);
    }
    out.join(", ")
}

pub(super) fn cork(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(3000);
    let mut out = vec![client.set(libc::SOL_TCP, libc::TCP_CORK, 1i32)];
    out.extend(all.chunks(1000).map(|chunk| client.send(chunk, 0)));
    out.push(client.set(libc::SOL_TCP, libc::TCP_CORK, 0i32));
    settle();
    out.push(server.recv_all(3000));
    out.join(", ")
}

pub(super) fn cork_holds_back(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.set(libc::SOL_TCP, libc::TCP_CORK, 1i32), client.send(b"held", 0)];
    out.extend([server.poll(libc::POLLIN, QUIET), client.set(libc::SOL_TCP, libc::TCP_CORK, 0i32)]);
    out.push(server.recv(100, 0));
    out.join(", ")
}

pub(super) fn more(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(2000);
    let sent = [client.send(&all[..700], libc::MSG_MORE), client.send(&all[700..], 0)].join(", ");
    settle();
    [sent, server.recv_all(2000)].join(", ")
}

pub(super) fn oob(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(b"ab!", libc::MSG_OOB);
    settle();
    let poll = server.poll(libc::POLLIN | libc::POLLPRI, 0);
    [sent, poll, server.recv_now(100, libc::MSG_OOB | libc::MSG_DONTWAIT), server.recv(100, 0)].join(", ")
}

pub(super) fn zerocopy(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let all = pattern(8192);
    let mut out = vec![client.set(libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1i32)];
    out.push(client.send(&all, libc::MSG_ZEROCOPY));
    settle();
    out.extend([server.recv_all(8192), client.poll(0, QUIET)]);
    out.join(", ")
}

/// A sender whose peer does not read is stopped, and goes on when it does.
pub(super) fn full_then_writable(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let chunk = vec![b'x'; 65_536];
    let mut sent = 0usize;
    let stopped = loop {
        let said = client.send(&chunk, libc::MSG_DONTWAIT);
        match said.parse::<usize>() {
            Ok(bytes) if sent < 1 << 28 => sent += bytes,
            // Once more after a while: what is on its way may have made room.
            _ if client.poll(libc::POLLOUT, QUIET) != "nothing" && sent < 1 << 28 => {}
            _ => break said,
        }
    };
    let mut received = 0usize;
    let mut buffer = vec![0u8; 1 << 20];
    let mut writable = String::new();
    while received < sent && server.poll(libc::POLLIN, PATIENCE) != "nothing" {
        // SAFETY: a writable buffer and its length.
        let got =
            unsafe { libc::recv(server.fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        received += usize::try_from(got).unwrap_or(0);
        writable = client.poll(libc::POLLOUT, 0);
    }
    let all = if received == sent { "all received" } else { "LOST" };
    [stopped, all.to_owned(), writable, client.send(b"again", 0), server.recv(100, 0)].join(", ")
}

/// Asked for, and data afterwards: where the kernel refuses, libraries go on in user space.
pub(super) fn kernel_tls(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.send(b"before", 0), server.recv(100, 0)];
    out.extend([
        client.set(libc::SOL_TCP, libc::TCP_ULP, *b"tls"),
        client.send(b"after", 0),
        server.recv(100, 0),
    ]);
    out.join(", ")
}
