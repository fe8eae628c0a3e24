//! One walk over the node's open ends: which there are is read from a mapped array, what there is to say of each a
//! program writes into another, a batch at a time.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd as _, BorrowedFd},
};

use anyhow::{Context, Result};
use aya::maps::{Array, MapData};
use proxy_common::flow::{FreeList, LISTED, LIVE, ListedEnd, LiveEnd};

use crate::{
    dataplane::Reading,
    sys::{bpf_mmap::Mapping, bpf_test_run},
};

const END: usize = size_of::<ListedEnd>();
/// Where the number of an end's place is written, and the time at which it was looked at.
const PLACE: usize = offset_of!(ListedEnd, record.cookie);
const AT: usize = offset_of!(ListedEnd, figures.at);
const LIVE_END: usize = size_of::<LiveEnd>();

/// One reader's turn.
pub(super) struct Walk {
    reading: Reading,
    live: Mapping,
    places: Mapping,
    listed: Mapping,
    program: &'static str,
}

impl Walk {
    /// With the program of this name; waits for its turn. None: nothing is observed.
    pub(super) fn new(program: &'static str) -> Result<Option<Self>> {
        let Some(reading) = Reading::with(program)? else { return Ok(None) };
        let (live, places) = (reading.live.fd().as_fd(), reading.places.fd().as_fd());
        let live = Mapping::new(live, LIVE as usize * LIVE_END).context("map the open connections")?;
        let places = Mapping::new(places, size_of::<FreeList>()).context("map their places")?;
        let listed = reading.listed.fd().as_fd();
        let listed = Mapping::writable(listed, LISTED as usize * END).context("map the list")?;
        Ok(Some(Self { reading, live, places, listed, program }))
    }

    /// Has the program look at every open end. After each batch `see` gets the list and how many of its places hold an
    /// end; what was gone when its turn came says no time.
    pub(super) fn each_batch(&mut self, mut see: impl FnMut(&Mapping, usize)) -> Result<()> {
        let mut word = [0];
        self.places.read(offset_of!(FreeList, used), &mut word);
        let used = word[0].min(u64::from(LIVE)) as usize;
        let mut asked = 0;
        for place in 0..used {
            self.live.read(place * LIVE_END + offset_of!(LiveEnd, cookie), &mut word);
            if word[0] != 0 {
                self.listed.write(asked * END + PLACE, place as u64);
                self.listed.write(asked * END + AT, 0);
                asked += 1;
            }
            if asked == LISTED as usize || place + 1 == used && asked > 0 {
                run(self.reading.program.as_fd(), &mut self.reading.head, asked as u32)
                    .with_context(|| format!("read the open connections with {}", self.program))?;
                see(&self.listed, asked);
                asked = 0;
            }
        }
        Ok(())
    }
}

/// Runs the program once for each end.
fn run(program: BorrowedFd<'_>, head: &mut Array<MapData, u64>, ends: u32) -> io::Result<()> {
    head.set(0, 0, 0).map_err(io::Error::other)?;
    let mut left = ends;
    while left > 0 {
        match bpf_test_run::classifier(program, left) {
            Ok(()) => return Ok(()),
            // By a signal; the head says how far it came.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                let done = head.get(&0, 0).map_err(io::Error::other)?;
                left = u64::from(ends).saturating_sub(done) as u32;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
