//! Whether the splice guard works here: it refuses splice(2) from a socket that is redirected to, from no other and in no
//! other direction, and what was not spliced is read.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, SkStorage};
use nix::{
    errno::Errno,
    fcntl::{SpliceFFlags, splice},
    unistd::pipe,
};
use proxy_common::{
    accel::{Mark, Record, direction_bit, end_flag},
    names::{map, program},
};

use super::Pair;
use crate::{
    cgroup::Cgroup,
    dataplane::{
        object,
        refused::{Refused, Step},
        wire::{Raw, from_words},
    },
    sys::bpf_link::{self, AttachType},
};

/// Attached where this process is, for as long as it takes; it looks for sockets in maps of this test alone. An error: the
/// guard cannot be relied on.
pub(super) fn examine(pair: &mut Pair) -> Result<()> {
    let own = Cgroup::own()?;
    let guard = object::load_program(&mut pair.ebpf, program::SPLICE_GUARD)?;
    let link = bpf_link::create(guard, own.as_fd(), AttachType::LsmCgroup)
        .map_err(|error| Refused::to(Step::Attach, program::SPLICE_GUARD, error))?;
    let done = pair.try_guard();
    bpf_link::detach(link.as_fd()).context("detach the splice guard")?;
    if done.is_err() {
        // What is left of the trials is in the way of what comes after.
        let mut left = [0; 64];
        while pair.server.read(&mut left).is_ok_and(|read| read > 0) {}
    }
    done
}

impl Pair {
    fn try_guard(&mut self) -> Result<()> {
        self.send(b"other", false)?;
        ensure!(self.splice_out()? == b"other", "the guard is in the way of others");
        self.set_apart()?;
        for (message, redirect) in [(&b"handed over"[..], true), (b"over the stack", false)] {
            self.send(message, redirect)?;
            let spliced = self.splice_out();
            ensure!(
                spliced.as_ref().is_err_and(|error| *error == Errno::EINVAL),
                "splice(2) is not refused: {spliced:?}; bpf has to be among the kernel's security modules"
            );
            ensure!(self.receive(message.len())? == message, "a refused splice(2) loses bytes");
        }
        self.splice_in(b"into")
    }

    /// The server's end looks like one that is redirected to.
    fn set_apart(&mut self) -> Result<()> {
        let mut record: Record = from_words(&[0; size_of::<Record>() / 4]).context("an empty record")?;
        record.direction.bits = direction_bit::COUNTED;
        let mut records: SkStorage<&mut MapData, Raw<Record>> = object::typed(&mut self.ebpf, map::RECORDS)?;
        records.insert(&self.server.as_fd(), Raw(record), 0).context("make a record")?;
        let mut marks: SkStorage<&mut MapData, Raw<Mark>> = object::typed(&mut self.ebpf, map::READER_MARKS)?;
        let mark = Mark { flags: end_flag::TRUSTED, ..Mark::NONE };
        marks.insert(&self.server.as_fd(), Raw(mark), 0).context("mark a socket")
    }

    fn splice_in(&mut self, message: &[u8]) -> Result<()> {
        let (from, to) = pipe().context("make a pipe")?;
        File::from(to).write_all(message).context("write to the pipe")?;
        let moved = splice(&from, None, &self.server, None, message.len(), SpliceFFlags::empty());
        ensure!(moved == Ok(message.len()), "the guard is in the way of splice(2) into a socket: {moved:?}");
        let mut got = vec![0; message.len()];
        self.client.read_exact(&mut got).context("receive")?;
        ensure!(got == message, "splice(2) into a socket changes bytes");
        Ok(())
    }
}
