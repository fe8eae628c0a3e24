//! The edges of the page's picture: sums over the connections of one hop.

use proxy_common::flow::Turnarounds;
use proxy_plane::flows::{ClassTotals, Named, Share};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(super) struct Path {
    class: &'static str,
    direction: &'static str,
    hop: &'static str,
    forward: Option<&'static str>,
    opened: u64,
    active: u64,
    /// Both ways; of what another workload's end redirected to this one nothing is known here.
    bytes: u64,
    share: Share,
    /// Half of the connections were established faster.
    connect_us: Option<u64>,
    /// From the last byte of a request to the first of its answer: as the clients' ends have it, and the servers'.
    client_turnaround: Option<Turnaround>,
    server_turnaround: Option<Turnaround>,
}

/// Since the workload was attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
struct Turnaround {
    /// Of how many requests, as far as those that were measured tell.
    requests: u64,
    measured: u64,
    /// Of all these requests.
    sum_us: u64,
    /// Half of them took less, and 99 of 100: within an eighth.
    p50_us: u64,
    p99_us: u64,
}

impl Turnaround {
    fn of(sums: &Turnarounds) -> Option<Self> {
        Some(Self {
            requests: sums.count(),
            measured: sums.measured,
            sum_us: sums.sum,
            p50_us: sums.quantile(0.5)?,
            p99_us: sums.quantile(0.99)?,
        })
    }
}

/// By workload.
pub(super) fn of(totals: &[ClassTotals]) -> Vec<(String, Path)> {
    let path = |of: &ClassTotals| {
        let (class, totals) = (of.class, &of.totals);
        let carried = &totals.carried;
        let path = Path {
            class: class.name(),
            direction: class.direction().name(),
            hop: class.hop().name(),
            forward: class.forward().map(Named::label),
            opened: totals.opened,
            active: of.active,
            bytes: carried.sent_redirected
                + carried.received_redirected
                + carried.sent_stacked
                + carried.received_stacked,
            share: Share::of_class(class, carried),
            connect_us: upper_end_us(&totals.connect.buckets, 50),
            client_turnaround: of.turnarounds[0].as_deref().and_then(Turnaround::of),
            server_turnaround: of.turnarounds[1].as_deref().and_then(Turnaround::of),
        };
        (of.workload.clone(), path)
    };
    totals.iter().map(path).collect()
}

/// The upper end of the bucket within which this share of all is reached.
pub(super) fn upper_end_us(buckets: &[u64], percent: u64) -> Option<u64> {
    let all: u64 = buckets.iter().sum();
    let mut seen = 0;
    let found = buckets.iter().position(|count| {
        seen += count;
        seen > 0 && u128::from(seen) * 100 >= u128::from(all) * u128::from(percent)
    });
    found.map(|bucket| 1 << bucket)
}

#[cfg(test)]
mod tests {
    use proxy_common::flow::BUCKETS;

    use super::*;

    #[test]
    fn a_share_is_reached_in_its_bucket_and_nothing_has_none() {
        let mut of = [0; BUCKETS];
        assert_eq!(upper_end_us(&of, 50), None);
        of[4] = 3;
        of[9] = 2;
        assert_eq!((upper_end_us(&of, 50), upper_end_us(&of, 99)), (Some(16), Some(512)));
        of[9] = 4;
        assert_eq!(upper_end_us(&of, 50), Some(512));
        (of[4], of[9]) = (99, 1);
        assert_eq!(upper_end_us(&of, 99), Some(16));
    }
}
