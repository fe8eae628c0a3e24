//! io_uring.

use io_uring::{IoUring, opcode, types::Fd};

use super::socket::{End, Pair, QUIET, settle, shown};

/// A ring of one request at a time.
struct Ring(IoUring);

impl Ring {
    fn run(&mut self, entry: &io_uring::squeue::Entry) -> isize {
        // SAFETY: whatever the entry points to outlives the call, which waits for its completion.
        if unsafe { self.0.submission().push(entry) }.is_err() || self.0.submit_and_wait(1).is_err() {
            return -1;
        }
        self.0.completion().next().map_or(-1, |done| done.result() as isize)
    }

    fn send(&mut self, end: &End, data: &[u8]) -> String {
        self.run(&opcode::Send::new(Fd(end.fd()), data.as_ptr(), data.len() as u32).build()).to_string()
    }

    fn recv(&mut self, end: &End) -> String {
        let mut buffer = [0u8; 100];
        let got = self.run(&opcode::Recv::new(Fd(end.fd()), buffer.as_mut_ptr(), 100).build());
        if got < 0 { got.to_string() } else { shown(got, &buffer) }
    }

    fn poll(&mut self, end: &End) -> String {
        let ready = self.run(&opcode::PollAdd::new(Fd(end.fd()), libc::POLLIN as u32).build());
        if ready > 0 && ready as i16 & libc::POLLIN != 0 { "IN".to_owned() } else { ready.to_string() }
    }
}

/// Sent and received through a ring, the last message while the reader waits; then the end.
pub(super) fn exchange(pair: &mut Pair) -> String {
    let Ok(ring) = IoUring::new(4) else { return "no io_uring here".to_owned() };
    let mut ring = Ring(ring);
    let Pair { client, server } = pair;
    let mut out = vec![ring.send(client, b"hello")];
    settle();
    out.push(ring.recv(server));
    let waited = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(QUIET as u64));
            client.send(b"later", 0)
        });
        [ring.poll(server), ring.recv(server)]
    });
    out.extend(waited);
    client.close();
    out.extend([ring.poll(server), ring.recv(server)]);
    out.join(", ")
}
