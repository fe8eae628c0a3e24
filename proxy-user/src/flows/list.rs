//! Open ends, as the kernel's iterator lists them. The records come through a mapped array, a page of them with every
//! read(2).

use std::os::fd::AsFd as _;

use anyhow::{Context, Result};
use bytes::Buf as _;
use proxy_common::flow::{LISTED, ListedEnd};

use super::{end::End, walk::Walk};
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
    let mut walk = Walk::new(&path)?;
    let data = listed_pin()?;
    let ends =
        Mapping::new(data.fd().as_fd(), LISTED as usize * size_of::<ListedEnd>()).context("map the list")?;
    let mut numbers = vec![0; NUMBERS];
    loop {
        let mut page = walk.read(&mut numbers)?;
        if page.is_empty() {
            return Ok(());
        }
        while page.remaining() >= size_of::<u32>() {
            let mut words = [0; WORDS];
            ends.read((page.get_u32_ne() % LISTED) as usize * size_of::<ListedEnd>(), &mut words);
            if let Some(ListedEnd { record, figures }) = decode(&words) {
                see(&End { record, figures });
            }
        }
    }
}
