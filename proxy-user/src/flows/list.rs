//! Open ends, as the kernel's iterator lists them. Each reading of its pin walks over all sockets with a record; the
//! records come through a mapped array, a page of them with every read(2), so one reader at a time holds the pin's lock.

use std::{
    fs::File,
    io::{ErrorKind, Read as _},
    os::fd::AsFd as _,
    path::Path,
};

use anyhow::{Context, Result};
use bytes::Buf as _;
use nix::fcntl::{Flock, FlockArg};
use proxy_common::flow::{LISTED, ListedEnd};

use super::end::End;
use crate::{
    dataplane::{decode, list_pin, listed_pin},
    sys::bpf_mmap::Mapping,
};

const WORDS: usize = size_of::<ListedEnd>() / 8;
/// A number for each end. No more at once than the array holds: the kernel stops when it has that many bytes.
const NUMBERS: usize = LISTED as usize * size_of::<u32>();

/// Hands out the ends that are open now, and those TCP is done with while their processes still have them. None where
/// nothing is observed.
pub(super) fn each_live(mut see: impl FnMut(&End)) -> Result<()> {
    let Some(path) = list_pin() else { return Ok(()) };
    let mut list = open(&path)?;
    let data = listed_pin()?;
    let ends =
        Mapping::new(data.fd().as_fd(), LISTED as usize * size_of::<ListedEnd>()).context("map the list")?;
    let mut numbers = vec![0; NUMBERS];
    loop {
        let read = match list.read(&mut numbers) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            // The kernel looks at no more than a million sockets at once, then wants to be asked again.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let mut page = &numbers[..read];
        while page.remaining() >= size_of::<u32>() {
            let mut words = [0; WORDS];
            ends.read((page.get_u32_ne() % LISTED) as usize * size_of::<ListedEnd>(), &mut words);
            if let Some(ListedEnd { record, figures }) = decode(&words) {
                see(&End { record, figures });
            }
        }
    }
}

fn open(path: &Path) -> Result<Flock<File>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("lock {}", path.display()))
}
