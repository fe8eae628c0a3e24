//! How many series a workload has: few while it is idle, a bounded number with all kinds of traffic.

use std::net::SocketAddr;

use tests::accelerated::Accelerated;
use tests::client::Connect;
use tests::data_plane::DataPlane;
use tests::dns::{self, Ask};
use tests::envoy_config::{Forward, SidecarConfig};
use tests::flows::wait_closed;
use tests::load::Load;
use tests::network::Network;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::serve::{self, Serve};
use tests::server::Server;
use tests::sidecar::Sidecar;
use tests::sidestep::{DEFAULT_FLAGS, Sidestep};

const IDLE: usize = 40;
const BUSY: usize = 150;
/// More than these, where its questions for names are captured.
const NAMES: usize = 15;

/// Lines of the page that are the pod's.
fn series(serve: &Serve, pod: &Pod) -> Vec<String> {
    let label = serve::label(pod).unwrap();
    let page = serve.metrics().unwrap().0;
    page.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
}

#[test]
fn a_workload_has_a_bounded_number_of_series() {
    if !DataPlane::Sidestep.met(&[
        Requirement::Acceleration,
        Requirement::Observation,
        Requirement::Program("curl", "curl"),
    ]) {
        return;
    }
    let network = Network::with_own_addresses("series").unwrap();
    let flags: Vec<String> = Accelerated::new("safe-readers").flags();
    let flags: Vec<&str> = DEFAULT_FLAGS
        .into_iter()
        .chain(["--pod", "shop/web-0", "--redirect-dns", "--capture-all-dns"])
        .chain(flags.iter().map(String::as_str))
        .collect();
    let _attached = Sidestep::attach(&network.pod, &flags).unwrap();
    let _other = Accelerated::new("safe-readers").attach(&network.outside).unwrap();
    let serve = Serve::start(&[]).unwrap();
    let idle = series(&serve, &network.pod);
    println!("{} series while idle", idle.len());
    assert!(idle.len() <= IDLE, "{} of {IDLE}:\n{}", idle.len(), idle.join("\n"));

    let config = SidecarConfig::new(Forward::Passthrough, &[8080]);
    let _sidecar = Sidecar::start(&network.pod, &config).unwrap();
    let any = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let _app = Server::on(&network.pod).listen(any(8080)).echo().start().unwrap();
    let _probed = Server::on(&network.pod).listen(any(15021)).start().unwrap();
    let _service = Server::on(&network.outside).listen(network.outside4(80)).echo().start().unwrap();
    // In, out, around, within; some that end, some that stay, some that are refused.
    let inbound = Load::lasting(network.pod4(8080), 5).start(&network.outside).unwrap();
    let outbound = Load::lasting(network.outside4(80), 5).start(&network.pod).unwrap();
    for to in [network.pod4(15021), network.pod4(8080), network.pod4(8081)] {
        Connect::to(to).from(&network.outside).unwrap();
    }
    for to in [network.outside4(80), network.outside4(81), SocketAddr::from(([127, 0, 0, 1], 8080))] {
        Connect::to(to).one_line().from(&network.pod).unwrap();
    }
    // A resolver for each kind of answer.
    for code in ["0", "2", "3", "4", "5"] {
        let resolver = network.pod.lab_agent("dns-answer").unwrap().args(["--listen", dns::AGENT[0]]);
        let resolver = resolver.args(["--code", code]).spawn().unwrap();
        resolver.wait_for("ready").unwrap();
        Ask::new(["10.96.0.10:53".parse().unwrap()]).from(&network.pod).unwrap();
    }
    wait_closed(&network.pod, &[], 8).unwrap();
    let busy = series(&serve, &network.pod);
    let is_of_names = |line: &String| {
        ["sidestep_dns_", "rule=\"O11\"", "event=\"dns_reply\""].iter().any(|text| line.contains(text))
    };
    let (names, busy): (Vec<String>, Vec<String>) = busy.into_iter().partition(is_of_names);
    println!("{} series with traffic, and {} of names", busy.len(), names.len());
    assert!(names.len() <= NAMES, "{} of {NAMES}:\n{}", names.len(), names.join("\n"));
    assert!(busy.len() <= BUSY, "{} of {BUSY}:\n{}", busy.len(), busy.join("\n"));
    assert!(names.iter().any(|line| line.contains("outcome=\"servfail\"")), "{names:#?}");
    for name in ["sidestep_connections_total", "sidestep_hand_off_duration_seconds_bucket"] {
        for hop in ["inbound", "inner", "outbound"] {
            let hop = format!("hop=\"{hop}\"");
            assert!(
                busy.iter().any(|line| line.starts_with(name) && line.contains(&hop)),
                "{name} {hop}: {busy:#?}"
            );
        }
    }
    inbound.finish().unwrap();
    outbound.finish().unwrap();
}
