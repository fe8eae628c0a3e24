//! How connections end.

use super::socket::{Pair, pattern, settle};

pub(super) fn half_close(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.send(b"DATA", 0), client.shutdown(libc::SHUT_WR)];
    out.extend([server.recv(100, 0), server.recv(100, 0), server.send(b"REPLY", 0)]);
    out.push(client.recv(100, 0));
    server.close();
    out.push(client.recv(100, 0));
    out.join(", ")
}

pub(super) fn half_close_of_the_server(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![server.send(b"HELLO", 0), server.shutdown(libc::SHUT_WR)];
    out.extend([client.recv(100, 0), client.recv(100, 0), client.send(b"THANKS", 0)]);
    out.push(server.recv(100, 0));
    client.close();
    out.push(server.recv(100, 0));
    out.join(", ")
}

pub(super) fn reset_after_data(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(b"DATA", 0);
    client.reset();
    settle();
    let poll = server.poll(libc::POLLIN | libc::POLLRDHUP, 0);
    [sent, poll, server.recv(100, 0), server.recv(100, 0), server.send(b"x", 0)].join(", ")
}

pub(super) fn reset_while_reading(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    std::thread::scope(|scope| {
        let reader = scope
            .spawn(|| if server.is_nonblocking() { server.recv(100, 0) } else { server.recv_now(100, 0) });
        settle();
        client.reset();
        let first = reader.join().unwrap_or_default();
        [first, server.recv_now(100, 0)].join(", ")
    })
}

pub(super) fn close_with_unread_data(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(b"UNREAD", 0);
    settle();
    server.close();
    settle();
    let received = client.recv(100, 0);
    let first = client.send(b"x", 0);
    settle();
    [sent, received, first, client.send(b"y", 0)].join(", ")
}

pub(super) fn send_after_shutdown(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![client.send(b"DATA", 0), client.shutdown(libc::SHUT_WR), client.send(b"MORE", 0)];
    out.extend([server.recv(4, 0), server.recv(100, 0)]);
    out.join(", ")
}

pub(super) fn shutdown_of_reading(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let mut out = vec![server.shutdown(libc::SHUT_RD), server.recv_now(100, 0), client.send(b"DATA", 0)];
    settle();
    out.extend([server.recv_now(100, 0), server.send(b"REPLY", 0), client.recv(100, 0)]);
    out.join(", ")
}

pub(super) fn shutdown_while_queued(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(&pattern(100_000), 0);
    let shut = client.shutdown(libc::SHUT_WR);
    settle();
    [sent, shut, server.recv_all(200_000), server.send(b"REPLY", 0), client.recv(100, 0)].join(", ")
}

pub(super) fn close_while_queued(pair: &mut Pair) -> String {
    let Pair { client, server } = pair;
    let sent = client.send(&pattern(100_000), 0);
    client.close();
    settle();
    [sent, server.recv_all(200_000)].join(", ")
}
