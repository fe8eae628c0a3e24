//! A reader that never reads holds at most the limit beside what stock TCP would hold, for one such reader and for many.

use rstest::rstest;
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::network::Network;
use tests::report::Filled;
use tests::requirement::Requirement;
use tests::server::Server;

/// One message more than the limit may be under way, and the stack's share differs a little from run to run.
const SLACK: u64 = 1 << 20;

/// Bytes a writer got rid of on each of `connections` whose reader never reads.
fn held(mode: &str, limit: u32, connections: u32, two_pods: bool) -> Filled {
    let network = Network::with_own_addresses("bounds").unwrap();
    let _attached = attach_both(&network, &Accelerated::new(mode).limit(limit)).unwrap();
    let at = network.pod4(7000);
    let _server = Server::on(&network.pod).listen(at).silent().hold().start().unwrap();
    let from = if two_pods { &network.outside } else { &network.pod };
    let command = from.agent_as_app("fill").unwrap();
    let flags = ["--to", &at.to_string(), "--connections", &connections.to_string()];
    let filled: Filled = command.args(flags).run_json().unwrap();
    if mode != "off" {
        let status = Acceleration::of_pod(from).unwrap();
        println!("{mode}, limit {limit}: {:?}", status.counters);
        let redirected = status.of("redirected").bytes;
        let most = u64::from(limit) * u64::from(connections);
        assert!(redirected > 0 && redirected <= most, "{redirected} of at most {most}");
        assert!(status.of("limit").messages + status.of("draining").messages > 0, "{status:?}");
    }
    filled
}

#[rstest]
#[case::one(1)]
#[case::many(20)]
fn at_most_the_limit_more_than_the_stack(#[case] connections: u32, #[values(false, true)] two_pods: bool) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let stock = held("off", 4 << 20, connections, two_pods);
    for limit in [100_000, 4 << 20] {
        let accelerated = held(ANY_READER, limit, connections, two_pods);
        let most = stock.most + u64::from(limit) + SLACK;
        println!("limit {limit}: {accelerated:?}, stock TCP {stock:?}");
        assert!(accelerated.most <= most, "{accelerated:?} held, stock TCP {stock:?}, limit {limit}");
        assert_eq!(accelerated.error, "EAGAIN", "the sender is stopped as by stock TCP");
    }
}
