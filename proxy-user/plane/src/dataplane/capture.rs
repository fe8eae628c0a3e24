//! The messages of sockets in the map, for one process of the node at a time.

use std::{
    fs::File,
    mem::offset_of,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, RingBuf};
use nix::fcntl::Flock;
use proxy_common::{
    accel::{Capture as Wanted, Captured as Head, MOST_CAPTURED, NOBODY, Reason},
    addr::{Addr, Port},
    names::map,
    workload::Workload,
};

use super::{
    meta::Meta,
    node_pins,
    pins::{WorkloadPins, open_map, pinned},
    recorded,
    ring_turn::{self, Claim},
    wire,
    workloads::Workloads,
};
use crate::{
    clock::{Clock, monotonic_ns},
    sys::bpf_mmap::Mapping,
};

/// It ends so long after nobody has said that it goes on.
const LASTS: Duration = Duration::from_secs(5);

/// What is captured, for as long as this lives.
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

/// A piece of a message that a socket in the map has sent.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Microseconds since the epoch.
    pub at: u64,
    /// The workload that sent it, as its tenancy.
    pub tenancy: u64,
    pub source: SocketAddr,
    pub target: SocketAddr,
    /// First sequence number that each end has sent.
    pub first: u32,
    pub first_received: u32,
    /// Of the message's first byte.
    pub sequence: u32,
    /// Bytes of the whole message.
    pub size: u32,
    /// Where in it the piece begins.
    pub start: u32,
    pub reason: Option<Reason>,
    pub bytes: Vec<u8>,
}

impl Capture {
    /// Begins, and ends what somebody has left who was killed.
    pub fn begin(filter: &CaptureFilter) -> Result<Claim<Self>> {
        ensure!(
            filter.workloads.len() <= MOST_CAPTURED,
            "{} workloads: at most {MOST_CAPTURED} are captured at once; name fewer",
            filter.workloads.len()
        );
        let dir = node_pins::dir();
        let Some(table) = Workloads::if_there(&dir)? else { return Ok(Claim::Absent) };
        let tenancies: Vec<u64> = table
            .taken()
            .filter(|(_, entry)| filter.workloads.contains(&pins_of(entry)))
            .map(|(slot, entry)| entry.tenancy(slot))
            .collect();
        let Some(lock) = ring_turn::take("capture")? else { return Ok(Claim::Taken) };
        let map = open_map(&dir, map::CAPTURE)?;
        let wanted = Mapping::writable(map.as_fd(), size_of::<Wanted>()).context("map what is captured")?;
        let ring = RingBuf::try_from(Map::RingBuf(pinned(&dir, map::CAPTURED)?))
            .context("open the ring of captured messages")?;
        let mut this = Self { ring, wanted, clock: Clock::now()?, _lock: lock };
        this.wanted.write(offset_of!(Wanted, until), 0);
        // What somebody else has not read.
        while this.ring.next().is_some() {}
        let mut whose = [NOBODY; MOST_CAPTURED];
        whose.iter_mut().zip(&tenancies).for_each(|(place, tenancy)| *place = *tenancy);
        let port = Port::new(filter.port.unwrap_or(0));
        let value = Wanted { until: 0, lost: 0, whose, most: filter.most, port, reserved: 0 };
        for (number, word) in wire::bytes(&value).as_chunks::<8>().0.iter().enumerate() {
            this.wanted.write(number * 8, u64::from_ne_bytes(*word));
        }
        this.go_on()?;
        for pins in &filter.workloads {
            if let Ok(meta) = Meta::read(&pins.map(map::META)) {
                recorded::captured(pins, &meta, filter.port);
            }
        }
        Ok(Claim::Granted(this))
    }

    /// Goes on for a few seconds more.
    pub fn go_on(&mut self) -> Result<()> {
        let until = monotonic_ns()? + u64::try_from(LASTS.as_nanos()).unwrap_or(u64::MAX);
        self.wanted.write(offset_of!(Wanted, until), until);
        Ok(())
    }

    /// No more; what waits in the ring can still be read.
    pub fn end(&mut self) {
        self.wanted.write(offset_of!(Wanted, until), 0);
    }

    /// The next piece that waits.
    pub fn next_piece(&mut self) -> Option<Piece> {
        loop {
            let item = self.ring.next()?;
            let (head, rest) = item.split_at_checked(size_of::<Head>())?;
            let Some(head) = wire::value::<Head>(head) else { continue };
            let kept = rest.get(..head.kept as usize).unwrap_or(rest);
            return Some(Piece::of(&head, kept, self.clock));
        }
    }

    /// Pieces that found no room.
    pub fn lost(&self) -> u64 {
        let mut lost = [0];
        self.wanted.read(offset_of!(Wanted, lost), &mut lost);
        lost[0]
    }
}

impl Piece {
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
            start: head.start,
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

fn pins_of(entry: &Workload) -> WorkloadPins {
    WorkloadPins::of(entry.netns.into(), entry.cgroup)
}

// To wait for it.
impl AsRawFd for Capture {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}
