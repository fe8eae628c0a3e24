use std::fmt;

use prometheus_client::registry::Unit;
use proxy_common::flow::{Class, Hop, Turnarounds as Sums, fine_bucket};

use super::{
    Family, Kind, Page, Snapshot, Source, Values,
    flows::{class_labels, each, rows},
    page::Samples,
};

static TURNAROUND: Family = Family {
    name: "turnaround_duration",
    kind: Kind::Histogram,
    unit: Some(Unit::Seconds),
    help: "From the last byte of a request to the first of its answer on the hops to and from the sidecar, at the end that is \
           the sidecar's: the first 16 requests of a connection, then one in 16, which counts for 16 (docs/flows.md)",
    labels: &["workload", "namespace", "direction", "hop", "forward", "end"],
};

/// Upper ends in microseconds, powers of two: 1, 8 and 66 ms. All of the kernel's buckets would be most of the page.
const BOUNDS: [u64; 3] = [1 << 10, 1 << 13, 1 << 16];

const ENDS: [(&str, &str); 2] = [
    ("client", "of who asks: its own bytes out, the answer's in"),
    ("server", "of who answers: the request's bytes in, its own out"),
];

#[derive(Debug)]
pub(super) struct Turnarounds;

impl Source for Turnarounds {
    fn families(&self) -> Vec<&'static Family> {
        vec![&TURNAROUND]
    }

    fn values(&self) -> Vec<Values> {
        let mut values = class_labels(&[&TURNAROUND]);
        values.push(Values { label: "end", of: vec![&TURNAROUND], values: ENDS.to_vec() });
        values
    }

    fn write(&self, page: &mut Page<'_>, seen: &Snapshot) -> fmt::Result {
        let rows = rows(seen);
        let mut samples = page.family(&TURNAROUND)?;
        each(&rows, |[a, b, c, d, e], of| {
            let Some(at) = sidecars_end(of.class) else { return Ok(()) };
            let (end, _) = ENDS[at];
            of.turnarounds[at]
                .as_ref()
                .map_or(Ok(()), |sums| histogram(&mut samples, &[a, b, c, d, e, end], sums))
        })
    }
}

/// Which of [`ENDS`]; none: no sidecar is on the way, and nothing to compare with. The other end, which the page's API has,
/// says the same but for the hop itself.
fn sidecars_end(class: Class) -> Option<usize> {
    matches!(class.hop(), Hop::Inbound | Hop::Inner | Hop::Outbound | Hop::Upstream)
        .then(|| usize::from(!class.is_sidecars(true)))
}

fn histogram(samples: &mut Samples<'_>, labels: &[&str], of: &Sums) -> fmt::Result {
    let ends = BOUNDS.map(|bound| (bound as f64 / 1e6, fine_bucket(bound)));
    samples.coarser(labels, of.sum as f64 / 1e6, &of.buckets, ends)
}

#[cfg(test)]
mod tests {
    use proxy_common::flow::fine_end;

    use super::*;

    #[test]
    fn the_bounds_are_ends_of_the_kernels_buckets() {
        for bound in BOUNDS {
            assert_eq!(fine_end(fine_bucket(bound) - 1), bound);
        }
    }
}
