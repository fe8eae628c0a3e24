//! The self-test of the acceleration: one connection in a network namespace of its own, driven through what the programs
//! rely on. What this kernel does otherwise than expected is found here, not by users.

mod guard;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::{Ebpf, maps::Array};
use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, splice},
    sched::{CloneFlags, unshare},
};
use proxy_common::{
    accel::AccelKernel,
    flow::FlowKernel,
    names::{map, program},
    self_test::Trial,
};

use serde::{Deserialize, Serialize};

use super::{object, refused::Refused, wire::Raw};
use crate::{
    netns,
    sys::{bpf_attach, bpf_map_elem, fionread, socket_cookie},
};

/// Over loopback everything is there at once, but for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(2);
const SERVER: u32 = 0;
const CLIENT: u32 = 1;

/// What differs from stock TCP, in ways that can be dealt with.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub(super) struct Findings {
    /// In words.
    pub(super) differs: Vec<String>,
    /// FIONREAD does not count all bytes that wait at a socket in the map.
    pub(super) miscounts_waiting: bool,
    /// FIONREAD differs even where nothing is handed over to a socket in the map.
    pub(super) misreads_stack: bool,
    /// The same by splice(2).
    pub(super) missplices_stack: bool,
    /// Why splice(2) cannot be refused from sockets in the map, if it cannot.
    pub(super) unguarded: Option<String>,
}

/// Runs it. An error: the kernel cannot be trusted with anybody's bytes.
pub(super) fn run(kernel: AccelKernel) -> Result<Findings> {
    let trial = move || -> Result<Findings> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        netns::lo_up()?;
        Pair::connect(kernel)?.examine()
    };
    let thread =
        thread::Builder::new().name("self-test".to_owned()).spawn(trial).context("start a thread")?;
    thread.join().map_err(|_| anyhow!("the self-test panicked"))?
}

/// A connection of which both ends are in the map.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    ebpf: Ebpf,
}

impl Pair {
    fn connect(kernel: AccelKernel) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        let client = TcpStream::connect(listener.local_addr()?).context("connect")?;
        let (server, _) = listener.accept().context("accept")?;
        server.set_nonblocking(true)?;
        client.set_nodelay(true)?;
        let mut pair = Self { client, server, ebpf: object::load_alone(kernel, FlowKernel::OFF)? };
        pair.enter_map()?;
        let server_port = u32::from(pair.server.local_addr()?.port());
        pair.set(Trial { server_port, ..Trial::default() })?;
        Ok(pair)
    }

    fn enter_map(&mut self) -> Result<()> {
        let prog = object::load_program(&mut self.ebpf, program::SELF_TEST)?.try_clone_to_owned()?;
        let socks = self.ebpf.map(map::SELF_TEST_SOCKS).context("the object has no map for the self-test")?;
        let socks = match socks {
            aya::maps::Map::SockMap(data) => data.fd().as_fd(),
            _ => bail!("the self-test's map is no sockmap"),
        };
        bpf_attach::sk_msg_verdict(prog.as_fd(), socks).context("attach the sk_msg program")?;
        for (index, end) in [(SERVER, &self.server), (CLIENT, &self.client)] {
            bpf_map_elem::set_fd(socks, index, end.as_fd()).context("put a socket into a sockmap")?;
        }
        Ok(())
    }

    fn examine(&mut self) -> Result<Findings> {
        let mut found = Findings::default();
        self.server.write_all(b"here").context("send")?;
        self.client.read_exact(&mut [0; 4]).context("receive")?;

        // The kernel makes it when it is asked for.
        let cookie = socket_cookie::socket_cookie(self.server.as_fd()).context("SO_COOKIE")?;
        let seen = self.send(b"stack", false)?;
        ensure!(seen.messages == 2, "sk_msg saw {} of 2 messages", seen.messages);
        ensure!(seen.cookie == cookie, "a receiver's cookie reads as {:#x}, it is {cookie:#x}", seen.cookie);
        ensure!(seen.nonblocking == 1, "a non-blocking receiver reads as blocking");
        ensure!(seen.drained == 1, "a receiver that has read everything reads as if it had not");
        found.misreads_stack |= self.note_waiting(5, "of what came over the stack", &mut found)?;
        let seen = self.send(b"more", false)?;
        ensure!(seen.drained == 0, "unread bytes of a receiver cannot be seen");
        ensure!(
            self.receive(9)? == b"stackmore",
            "bytes over the stack are lost or out of order in a sockmap"
        );

        self.send(b"spliced", false)?;
        if self.spliced()? != b"spliced" {
            found.missplices_stack = true;
            found.differs.push("splice(2) does not see what came over the stack".to_owned());
            ensure!(self.receive(7)? == b"spliced", "splice(2) loses what came over the stack");
        }

        let seen = self.send(b"first", true)?;
        ensure!(seen.drained == 1, "a receiver that has read everything reads as if it had not");
        ensure!(seen.queued == 0, "an empty receiver reads as holding {} bytes", seen.queued);
        self.note_waiting(5, "of what was handed over", &mut found)?;
        let seen = self.send(b"second", true)?;
        ensure!(seen.queued >= 5, "bytes handed over cannot be seen at their receiver");
        ensure!(self.receive(11)? == b"firstsecond", "bytes handed over are lost or out of order");

        self.send(b"spliced", true)?;
        if self.spliced()? != b"spliced" {
            found.differs.push("splice(2) does not see what was handed over".to_owned());
            ensure!(self.receive(7)? == b"spliced", "splice(2) loses what was handed over");
        }
        found.unguarded = guard::examine(self).err().map(|error| match Refused::behind(&error) {
            // What the verifier has to say is for who changes the program.
            Some(refused) => format!("{refused}: {}", error.root_cause()),
            None => format!("{error:#}"),
        });
        self.server.set_nonblocking(false)?;
        ensure!(self.send(b"last", true)?.nonblocking == 0, "a blocking receiver reads as non-blocking");
        self.server.set_nonblocking(true)?;
        self.client.shutdown(Shutdown::Write).context("shutdown")?;
        ensure!(self.receive(5)? == b"last", "the end of the stream overtakes what was handed over");
        Ok(found)
    }

    /// Sends one message over the stack or by hand-over; what the program saw of the receiver just before.
    fn send(&mut self, message: &[u8], redirect: bool) -> Result<Trial> {
        let before = self.trial()?;
        self.set(Trial { redirect: u32::from(redirect), ..before })?;
        self.client.write_all(message).context("send")?;
        self.trial()
    }

    /// Up to `length` bytes; fewer at the end of the stream, or when no more come.
    fn receive(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut got = vec![0; length];
        let mut filled = 0;
        let deadline = Instant::now() + PATIENCE;
        while filled < length && Instant::now() < deadline {
            match self.server.read(&mut got[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1))
                }
                Err(error) => return Err(error).context("receive"),
            }
        }
        got.truncate(filled);
        Ok(got)
    }

    /// Whether it differs.
    fn note_waiting(&self, sent: i32, what: &str, found: &mut Findings) -> Result<bool> {
        let waiting = fionread::waiting(self.server.as_fd()).context("FIONREAD")?;
        if waiting != sent {
            found.miscounts_waiting = true;
            found.differs.push(format!("FIONREAD says {waiting} {what}, not {sent}"));
        }
        Ok(waiting != sent)
    }

    fn splice_out(&self) -> nix::Result<Vec<u8>> {
        let (from, to) = nix::unistd::pipe()?;
        let moved = splice(&self.server, None, &to, None, 4096, SpliceFFlags::SPLICE_F_NONBLOCK)?;
        let mut got = vec![0; moved];
        nix::unistd::read(&from, &mut got)?;
        Ok(got)
    }

    /// None: there is nothing to splice.
    fn spliced(&self) -> nix::Result<Vec<u8>> {
        match self.splice_out() {
            Err(Errno::EAGAIN) => Ok(Vec::new()),
            other => other,
        }
    }

    fn trial(&mut self) -> Result<Trial> {
        Ok(self.cell()?.get(&0, 0).context("read the self-test's map")?.0)
    }

    fn set(&mut self, trial: Trial) -> Result<()> {
        self.cell()?.set(0, Raw(trial), 0).context("write the self-test's map")
    }

    fn cell(&mut self) -> Result<Array<&mut aya::maps::MapData, Raw<Trial>>> {
        object::typed(&mut self.ebpf, map::SELF_TEST)
    }
}
