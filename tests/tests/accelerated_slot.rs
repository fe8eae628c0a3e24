//! A socket stays in the acceleration's map as long as it lives, also when its workload is detached. It counts for nobody
//! who gets the workload's slot afterwards, and it obeys nobody else's switch.

use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use serde_json::Value;
use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::sidestep::ended_command;
use tests::wait::until;

const MET_WITHIN: Duration = Duration::from_secs(20);
const MESSAGES: u64 = 100;

struct Node(PinRoot);

impl Node {
    fn run(&self, verb: &[&str], pod: &Pod) {
        let ended = ended_command(self.0.for_pod(verb, pod).unwrap()).unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    fn attach(&self, pod: &Pod) {
        let flags = Accelerated::new(ANY_READER).attach_flags();
        self.0.attach(pod, &flags.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }

    fn slot(&self, pod: &Pod) -> u64 {
        self.0.status_of(pod).unwrap()["meta"]["slot"].as_u64().unwrap()
    }

    fn acceleration(&self, pod: &Pod) -> Value {
        self.0.status_of(pod).unwrap()["acceleration"].take()
    }

    fn redirected(&self, pod: &Pod) -> u64 {
        self.acceleration(pod)["redirected"]["messages"].as_u64().unwrap_or(0)
    }

    /// Messages that all sockets in the map have sent so far, whosever they are.
    fn sent(&self) -> u64 {
        let path = self.0.node_map("ACTIVITY").unwrap();
        let of: Array<MapData, [u32; 2]> =
            Array::try_from(Map::Array(MapData::from_pin(path).unwrap())).unwrap();
        of.iter().map(|both| both.unwrap().iter().map(|count| u64::from(*count)).sum::<u64>()).sum()
    }
}

#[test]
fn what_is_left_in_the_map_is_not_the_next_ones() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let (network, next) = (Network::new("slot-old").unwrap(), Network::new("slot-next").unwrap());
    let (leaving, staying) = (&network.pod, &network.outside);
    let node = Node(PinRoot::new().unwrap());
    node.attach(leaving);
    node.attach(staying);
    let within = network.pod4(7000);
    let _server = Server::on(leaving).listen(within).echo().start().unwrap();
    let loads = [leaving, staying].map(|from| Load::lasting(within, 4).start(from).unwrap());
    wait("they are accelerated", || node.redirected(leaving) > 0 && node.redirected(staying) > 0);

    let slot = node.slot(leaving);
    node.run(&["detach"], leaving);
    node.attach(&next.pod);
    assert_eq!(node.slot(&next.pod), slot, "the next one has got the slot");
    let (sent, redirected) = (node.sent(), node.redirected(staying));
    wait("messages are sent", || node.sent() > sent + MESSAGES);
    assert_eq!(node.acceleration(&next.pod), serde_json::json!({}), "nothing there is the next one's");
    assert_eq!(node.redirected(staying), redirected, "the next one's switch is not the old one's");

    for load in loads {
        let exchanges = load.finish().unwrap();
        assert!(exchanges.failed.is_empty() && exchanges.completed > 4, "{exchanges:?}");
    }
}

fn wait(what: &str, met: impl Fn() -> bool) {
    until(what, MET_WITHIN, met);
}
