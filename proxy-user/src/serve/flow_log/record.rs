//! The records: `docs/schema/flow_log.json`.

use std::io::Write as _;

use proxy_plane::flows::{Flow, SCHEMA};
use serde::Serialize;

/// Makes lines of flows.
#[derive(Debug)]
pub(super) struct Records {
    node: String,
    /// One connection in so many.
    sample: u64,
}

#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    record: &'static str,
    node: &'a str,
    sample: u64,
    #[serde(flatten)]
    flow: &'a Flow,
}

impl Records {
    pub(super) fn of(sample: u64) -> Self {
        let node = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
        Self { node: node.unwrap_or_default(), sample }
    }

    /// Lines of those that are in the sample, and how many these are.
    pub(super) fn lines(&self, record: &'static str, flows: &[Flow]) -> (Vec<u8>, u64) {
        let (mut lines, mut count) = (Vec::new(), 0);
        for flow in flows.iter().filter(|flow| self.is_sampled(flow.id)) {
            let Self { node, sample, .. } = self;
            let record = Record { schema: SCHEMA, record, node, sample: *sample, flow };
            // A vector takes all that is written, and a flow is numbers and text.
            if serde_json::to_writer(&mut lines, &record).is_ok() && writeln!(lines).is_ok() {
                count += 1;
            }
        }
        (lines, count)
    }

    /// All records of a connection are, or none. The numbers of sockets rise: they are mixed first (splitmix64).
    fn is_sampled(&self, id: u64) -> bool {
        let mut mixed = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31).is_multiple_of(self.sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_says_whatever_the_numbers() {
        let sampled = |sample, step: u64| {
            let records = Records { node: String::new(), sample };
            (0..10_000u64).filter(|number| records.is_sampled(number * step)).count()
        };
        assert_eq!(sampled(1, 1), 10_000);
        for step in [1, 4, 4096] {
            let count = sampled(10, step);
            assert!((800..1200).contains(&count), "{count} of 10000 with numbers {step} apart");
        }
    }
}
