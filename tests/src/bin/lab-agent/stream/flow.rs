//! One connection, both directions at once, without blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::content::Content;
use tests::random::Random;

/// seed, bytes each way, largest chunk, longest burst: what a client says first.
const HEADER: usize = 32;
/// Last byte from server to client: the server received what was sent.
const GOOD: u8 = b'y';
const BAD: u8 = b'n';
/// Bytes a fast flow moves before another one has its turn.
const TURN: usize = 1 << 20;

/// How a flow reads.
#[derive(Clone, Copy, Debug)]
enum Reader {
    Fast,
    /// A little at a time, with pauses.
    Slow,
    /// Everything, then nothing for a while.
    Bursty,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Each way.
    pub(crate) bytes: u64,
    pub(crate) chunk: usize,
    /// Most bytes between two pauses, in which the other end may catch up; 0: pauses come now and then.
    pub(crate) burst: usize,
}

/// A connection under way.
#[derive(Debug)]
pub(crate) struct Flow {
    stream: TcpStream,
    is_client: bool,
    plan: Option<Plan>,
    /// Header bytes sent (client) or received (server).
    header: Vec<u8>,
    sent: u64,
    /// Bytes until the next pause.
    burst: u64,
    received: u64,
    verdict: Option<u8>,
    random: Random,
    reader: Reader,
    /// Edge-triggered: set by events, cleared by EAGAIN.
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    read_after: Instant,
    write_after: Instant,
    pub(crate) difference: Option<u64>,
}

/// What a turn has led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// More can be done at once.
    Busy,
    /// An event, or this moment, comes first.
    Waiting(Option<Instant>),
    Done,
}

impl Flow {
    pub(crate) fn client(stream: TcpStream, plan: Plan) -> Self {
        let mut flow = Self::new(stream, true, plan.seed);
        for number in [plan.seed, plan.bytes, plan.chunk as u64, plan.burst as u64] {
            flow.header.extend_from_slice(&number.to_le_bytes());
        }
        flow.plan = Some(plan);
        flow
    }

    pub(crate) fn server(stream: TcpStream) -> Self {
        Self::new(stream, false, 0)
    }

    fn new(stream: TcpStream, is_client: bool, seed: u64) -> Self {
        let now = Instant::now();
        let mut random = Random::of(seed ^ now.elapsed().as_nanos() as u64 ^ u64::from(is_client) << 40, 0);
        let reader = [Reader::Fast, Reader::Fast, Reader::Slow, Reader::Bursty][random.below(4)];
        Self {
            stream,
            is_client,
            plan: None,
            header: Vec::new(),
            sent: 0,
            burst: 0,
            received: 0,
            verdict: None,
            random,
            reader,
            readable: false,
            writable: false,
            read_after: now,
            write_after: now,
            difference: None,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn moved(&self) -> u64 {
        self.sent + self.received
    }

    /// Does what can be done now.
    pub(crate) fn turn(&mut self, content: &Content, buffer: &mut [u8]) -> io::Result<Turn> {
        let now = Instant::now();
        let mut moved = 0;
        let mut again = true;
        while again && moved < TURN {
            let wrote = self.write(content, now)?;
            // The other end may be gone once it has the verdict.
            if self.is_done() {
                return Ok(Turn::Done);
            }
            let read = self.read(content, buffer, now)?;
            moved += wrote + read;
            again = wrote + read > 0;
            if self.is_done() {
                return Ok(Turn::Done);
            }
        }
        if again {
            return Ok(Turn::Busy);
        }
        let pauses =
            [(self.readable, self.read_after), (self.writable && self.wants_to_write(), self.write_after)];
        let next =
            pauses.iter().filter(|(ready, after)| *ready && *after > now).map(|(_, after)| *after).min();
        Ok(Turn::Waiting(next))
    }

    fn is_done(&self) -> bool {
        let Some(plan) = self.plan else { return false };
        self.sent == plan.bytes && self.received == plan.bytes && self.verdict.is_some()
    }

    fn wants_to_write(&self) -> bool {
        self.plan.is_some_and(|plan| {
            (self.is_client && !self.header.is_empty())
                || self.sent < plan.bytes
                || (!self.is_client && self.received == plan.bytes && self.verdict.is_none())
        })
    }

    fn write(&mut self, content: &Content, now: Instant) -> io::Result<usize> {
        let Some(plan) = self.plan else { return Ok(0) };
        if !self.writable || self.write_after > now || !self.wants_to_write() {
            return Ok(0);
        }
        if self.is_client && !self.header.is_empty() {
            let wrote = would_block(self.stream.write(&self.header), &mut self.writable)?;
            self.header.drain(..wrote);
            return Ok(wrote);
        }
        if self.sent < plan.bytes {
            let chunk = self.random.size(plan.chunk).min((plan.bytes - self.sent) as usize);
            let wrote = {
                let data = content.at(plan.seed ^ u64::from(!self.is_client), self.sent, chunk);
                would_block(self.stream.write(data), &mut self.writable)?
            };
            self.sent += wrote as u64;
            self.pause(plan, wrote as u64, now);
            return Ok(wrote);
        }
        let verdict = if self.difference.is_none() { GOOD } else { BAD };
        let wrote = would_block(self.stream.write(&[verdict]), &mut self.writable)?;
        if wrote > 0 {
            self.verdict = Some(verdict);
        }
        Ok(wrote)
    }

    fn pause(&mut self, plan: Plan, wrote: u64, now: Instant) {
        self.burst = self.burst.saturating_sub(wrote);
        let due = if plan.burst > 0 { self.burst == 0 } else { self.random.below(500) == 0 };
        if due {
            self.burst = self.random.size(plan.burst.max(1)) as u64;
            self.write_after = now + Duration::from_micros(self.random.below(2000) as u64);
        }
    }

    fn read(&mut self, content: &Content, buffer: &mut [u8], now: Instant) -> io::Result<usize> {
        if !self.readable || self.read_after > now {
            return Ok(0);
        }
        let wanted = match (self.plan, self.reader) {
            (None, _) => HEADER - self.header.len(),
            (Some(_), Reader::Slow) => self.random.size(16_384),
            (Some(_), Reader::Fast | Reader::Bursty) => buffer.len(),
        };
        let buffer = &mut buffer[..wanted];
        let got = match self.stream.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            other => would_block(other, &mut self.readable)?,
        };
        self.take(content, &buffer[..got])?;
        self.read_after = match self.reader {
            Reader::Slow if self.random.below(8) == 0 => {
                now + Duration::from_micros(self.random.below(1000) as u64)
            }
            Reader::Bursty if got == 0 => now + Duration::from_micros(self.random.below(5000) as u64),
            _ => now,
        };
        Ok(got)
    }

    fn take(&mut self, content: &Content, got: &[u8]) -> io::Result<()> {
        let Some(plan) = self.plan else {
            self.header.extend_from_slice(got);
            if self.header.len() == HEADER {
                let number =
                    |at: usize| u64::from_le_bytes(self.header[at..at + 8].try_into().unwrap_or_default());
                self.plan = Some(Plan {
                    seed: number(0),
                    bytes: number(8),
                    chunk: number(16) as usize,
                    burst: number(24) as usize,
                });
            }
            return Ok(());
        };
        let data = got.len().min((plan.bytes - self.received) as usize);
        let seed = plan.seed ^ u64::from(self.is_client);
        if self.difference.is_none() {
            self.difference = content.difference(seed, self.received, &got[..data]);
        }
        self.received += data as u64;
        match (&got[data..], self.is_client) {
            ([], _) => Ok(()),
            ([verdict], true) => {
                self.verdict = Some(*verdict);
                if *verdict != GOOD {
                    self.difference.get_or_insert(u64::MAX);
                }
                Ok(())
            }
            _ => Err(io::Error::other("more bytes than were sent")),
        }
    }
}

/// Zero, and not ready any more, when it would block.
fn would_block(result: io::Result<usize>, ready: &mut bool) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            *ready = false;
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
        other => other,
    }
}
