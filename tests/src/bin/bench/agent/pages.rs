//! What memory costs that nobody has touched for a while: hypervisors and kernels take it away, and whoever wakes pays for
//! that. A figure of an idle process is to be read beside it.

use std::hint::black_box;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const PAGES: usize = 1000;

pub(super) struct Pages(Vec<u8>);

impl Pages {
    pub(super) fn new() -> Self {
        let mut pages = Self(vec![1; PAGE * PAGES]);
        pages.touch();
        pages
    }

    /// How long a look at each of them takes.
    pub(super) fn touch(&mut self) -> Duration {
        let begun = Instant::now();
        for byte in self.0.iter_mut().step_by(PAGE) {
            *byte = black_box(*byte).wrapping_add(1);
        }
        begun.elapsed()
    }
}
