//! The messages of sockets in the map, for one process of the node at a time.

use std::{
    fs::File,
    mem::offset_of,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, RingBuf};
use nix::fcntl::Flock;
use proxy_common::{
    accel::{Capture as Wanted, Captured as Head, MOST_CAPTURED, NOBODY, Reason},
    addr::{Addr, Port},
    names::map,
};
use proxy_core::exit::{Class, Failure};

use super::{
    asks::tenants,
    meta::Meta,
    node_pins,
    pins::{WorkloadPins, open_map, pinned},
    recorded,
    ring_turn::{self, Claim},
    wire,
};
use crate::{
    clock::{Clock, monotonic_after},
    sys::bpf_mmap::Mapping,
};

/// It ends so long after nobody has said that it goes on.
const LASTS: Duration = Duration::from_secs(5);

/// The right to capture. What is captured is so for as long as this lives.
pub struct Capture {
    ring: RingBuf<MapData>,
    wanted: Mapping,
    clock: Clock,
    _lock: Flock<File>,
}

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct CaptureFilter {
    /// What these send and are sent; at most [`MOST_CAPTURED`] of them.
    pub workloads: Vec<WorkloadPins>,
    /// Bytes of each message.
    pub most: u32,
    /// Connections with this port at either end.
    pub port: Option<u16>,
}

/// A message that a socket in the map has sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Microseconds since the epoch.
    pub at: u64,
    /// The workload that sent it, as its tenancy.
    pub tenancy: u64,
    pub source: SocketAddr,
    pub target: SocketAddr,
    /// First sequence number that each end has sent.
    pub first: u32,
    pub first_received: u32,
    /// Of its first byte.
    pub sequence: u32,
    /// Bytes of all of it.
    pub size: u32,
    pub reason: Option<Reason>,
    /// The first of them.
    pub bytes: Vec<u8>,
}

impl Capture {
    /// Ends what somebody has left who was killed.
    pub fn claim() -> Result<Claim<Self>> {
        let dir = node_pins::dir();
        if !node_pins::is_whole(&dir) {
            return Ok(Claim::Absent);
        }
        let Some(lock) = ring_turn::take("capture")? else { return Ok(Claim::Taken) };
        let map = open_map(&dir, map::CAPTURE)?;
        let wanted = Mapping::writable(map.as_fd(), size_of::<Wanted>()).context("map what is captured")?;
        let ring = RingBuf::try_from(Map::RingBuf(pinned(&dir, map::CAPTURED)?))
            .context("open the ring of captured messages")?;
        let mut this = Self { ring, wanted, clock: Clock::now()?, _lock: lock };
        this.end();
        // What somebody else has not read.
        while this.ring.next().is_some() {}
        Ok(Claim::Granted(this))
    }

    /// # Errors
    /// Too many workloads.
    pub fn begin(&mut self, filter: &CaptureFilter) -> Result<()> {
        let mut whose = [NOBODY; MOST_CAPTURED];
        let count = filter.workloads.len();
        if count > whose.len() {
            let text = format!("{count} workloads: at most {MOST_CAPTURED} are captured at once; name fewer");
            return Err(Failure::error(Class::Usage, text));
        }
        let wanted = tenants()?.into_iter().filter(|(_, pins)| filter.workloads.contains(pins));
        whose.iter_mut().zip(wanted).for_each(|(place, (tenancy, _))| *place = tenancy);
        let port = Port::new(filter.port.unwrap_or(0));
        let value = Wanted { until: 0, lost: 0, whose, most: filter.most, port, reserved: 0 };
        for (number, word) in wire::bytes(&value).as_chunks::<8>().0.iter().enumerate() {
            self.wanted.write(number * 8, u64::from_ne_bytes(*word));
        }
        self.go_on()?;
        for pins in &filter.workloads {
            if let Ok(meta) = Meta::read(&pins.map(map::META)) {
                recorded::captured(pins, &meta, filter.port);
            }
        }
        Ok(())
    }

    /// Goes on for a few seconds more.
    pub fn go_on(&mut self) -> Result<()> {
        self.wanted.write(offset_of!(Wanted, until), monotonic_after(LASTS)?);
        Ok(())
    }

    /// No more; what waits in the ring can still be read.
    pub fn end(&mut self) {
        self.wanted.write(offset_of!(Wanted, until), 0);
    }

    /// The next one that waits.
    pub fn next_message(&mut self) -> Option<Message> {
        loop {
            let item = self.ring.next()?;
            let (head, rest) = item.split_at_checked(size_of::<Head>())?;
            let Some(head) = wire::value::<Head>(head) else { continue };
            let kept = rest.get(..head.kept as usize).unwrap_or(rest);
            return Some(Message::of(&head, kept, self.clock));
        }
    }

    /// Messages that found no room.
    pub fn lost(&self) -> u64 {
        let mut lost = [0];
        self.wanted.read(offset_of!(Wanted, lost), &mut lost);
        lost[0]
    }
}

impl Message {
    fn of(head: &Head, bytes: &[u8], clock: Clock) -> Self {
        let socket = |addr: Addr, port: Port| (IpAddr::from(addr), port.get()).into();
        Self {
            at: clock.wall_us(head.at).unwrap_or_default(),
            tenancy: head.tenancy,
            source: socket(head.own.local, head.own.local_port),
            target: socket(head.own.remote, head.own.remote_port),
            first: head.own.snd,
            first_received: head.own.rcv,
            sequence: head.sequence,
            size: head.size,
            reason: u8::try_from(head.reason).ok().and_then(Reason::from_index),
            bytes: bytes.to_vec(),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

// To wait for it.
impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
