//! What two sidecars of one node say to each other is redirected from the first connection on, whoever listens behind.

use std::time::Duration;

use rstest::rstest;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::envoy_config::{Forward, SidecarConfig};
use tests::flows::{split, wait_closed};
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidecar::{Kind, Sidecar};
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};
use tests::wait::until;

const PORT: u16 = 7000;
const WITHIN: Duration = Duration::from_secs(60);

/// Nobody is vouched for. The application keeps out: nobody knows its program, its listener blocks, or what it accepts does.
/// Calls of its own sidecar say so before the other pod's come.
#[rstest]
#[case::before_anybody_knew(0)]
#[case::after_the_application_kept_out(20)]
fn between_sidecars(#[case] before: u32, #[values(false, true)] nonblocking_listener: bool) {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration, Requirement::Observation, Requirement::Envoy]) {
        return;
    }
    let network = Network::with_own_addresses("sidecars").unwrap();
    let pods = [&network.pod, &network.outside];
    let _attached = pods.map(|pod| Sidestep::attach(pod, &DEFAULT_FLAGS).unwrap());
    let config = SidecarConfig::new(Forward::Passthrough, &[PORT]);
    let _sidecars = pods.map(|pod| Sidecar::start_kind(Kind::Envoy, pod, &config).unwrap());
    let app = Server::on(&network.pod).listen(network.pod4(PORT)).echo();
    let app = if nonblocking_listener { app.nonblocking_listener() } else { app };
    let _app = app.start().unwrap();

    let exchange = |connections| {
        let messages = || Acceleration::of_pod(&network.outside).unwrap().of("redirected").messages;
        let load =
            Load::lasting(network.pod4(PORT), connections).pause_ms(1).start(&network.outside).unwrap();
        let begun = messages();
        until("40 messages of each", WITHIN, || messages() >= begun + 40 * u64::from(connections));
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed >= connections.into(), "{exchanges:?}");
    };
    if before > 0 {
        exchange(before);
    }
    exchange(1);
    // Each goes from the application to its sidecar, and from there.
    let count = usize::try_from(before + 1).unwrap();
    let flows = wait_closed(&network.outside, &["--direction", "outbound"], 2 * count).unwrap();
    let upstream: Vec<_> = flows.iter().filter(|flow| flow["hop"] == "upstream").collect();
    assert_eq!(upstream.len(), count, "{flows:#?}");
    for flow in upstream {
        for way in ["upload", "download"] {
            let (redirected, stacked) = split(flow, &format!("/{way}/written"));
            // What is sent before the other end has accepted goes over the stack.
            assert!(redirected > 10 * stacked, "{way}: {flow:#}");
        }
    }
}
