//! Faults of the acceleration: full maps, an end that nobody finds. Connections go on over the stack and are counted, and
//! the next ones are accelerated again.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData, SockHash};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use proxy_common::accel::{EndEntry, EndKey};
use tests::accelerated::{Accelerated, attach_both};
use tests::any_reader::ANY_READER;
use tests::counters::Acceleration;
use tests::data_plane::DataPlane;
use tests::load::Load;
use tests::network::Network;
use tests::requirement::Requirement;
use tests::server::Server;
use tests::wait::until;

const CONNECTIONS: u32 = 8;
/// Sockets of one process.
const PART: usize = 16_000;
const BPF_NOEXIST: u64 = 1;
const MET_WITHIN: Duration = Duration::from_secs(30);

/// Keys and values of `ENDS`.
type Key = [u8; size_of::<EndKey>()];
type Entry = [u8; size_of::<EndEntry>()];
type Ends = HashMap<MapData, Key, Entry>;

fn ends(path: &Path) -> Ends {
    Map::HashMap(MapData::from_pin(path).unwrap()).try_into().unwrap()
}

/// Adds keys no connection has until the map takes no more.
fn fill(ends: &mut Ends) -> Vec<Key> {
    let mut added = Vec::new();
    for number in 0u32.. {
        let mut key = [0xff; size_of::<Key>()];
        key[..4].copy_from_slice(&number.to_le_bytes());
        if ends.insert(key, [0; size_of::<Entry>()], BPF_NOEXIST).is_err() {
            break;
        }
        added.push(key);
    }
    assert!(added.len() > 1000, "{}", added.len());
    added
}

/// Sockets of nobody's, as many as the map takes; they leave it when this is dropped. A process may have too few
/// descriptors for all, so each of some that sleep has a part.
struct Filled(Vec<Child>);

impl Filled {
    fn sockets(path: &Path) -> Self {
        let mut socks: SockHash<MapData, u64> =
            Map::SockHash(MapData::from_pin(path).unwrap()).try_into().unwrap();
        let mut holders = Self(Vec::new());
        let (mut part, mut added) = (Vec::new(), 0);
        for cookie in (0..=u64::MAX).rev() {
            let (socket, _) = UnixStream::pair().unwrap();
            if let Err(error) = socks.insert(cookie, socket.as_raw_fd(), BPF_NOEXIST) {
                assert!(added > PART, "{added}: {error:?}");
                break;
            }
            fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            part.push(socket);
            added += 1;
            if part.len() == PART {
                holders.0.push(Command::new("sleep").arg("600").spawn().unwrap());
                part.clear();
            }
        }
        holders.0.push(Command::new("sleep").arg("600").spawn().unwrap());
        holders
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        for holder in &mut self.0 {
            holder.kill().ok();
            holder.wait().ok();
        }
    }
}

/// Connections that last a moment; what was counted of them where they began.
fn exchange(network: &Network, at: SocketAddr) -> Acceleration {
    let before = Acceleration::of_pod(&network.outside).unwrap();
    let load = Load::lasting(at, CONNECTIONS).start(&network.outside).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let exchanges = load.finish().unwrap();
    assert!(exchanges.failed.is_empty() && exchanges.completed > u64::from(CONNECTIONS), "{exchanges:?}");
    let mut seen = Acceleration::of_pod(&network.outside).unwrap();
    for (reason, paths) in &mut seen.counters {
        paths.messages -= before.of(reason).messages;
        paths.sockets -= before.of(reason).sockets;
    }
    seen
}

fn messages(seen: &Acceleration, reason: &str) -> u64 {
    seen.of(reason).messages
}

/// In turns: the maps are the node's.
#[test]
fn the_stack_takes_over_and_gives_back() {
    if !DataPlane::Sidestep.met(&[Requirement::Acceleration]) {
        return;
    }
    let network = Network::with_own_addresses("faults").unwrap();
    let attached = attach_both(&network, &Accelerated::new(ANY_READER)).unwrap();
    let at = network.pod4(7000);
    let _server = Server::on(&network.pod).listen(at).echo().start().unwrap();
    let accelerates = |when: &str| {
        let seen = exchange(&network, at);
        assert_eq!(seen.of("enrolled").sockets, u64::from(CONNECTIONS), "{when}: {seen:?}");
        assert!(messages(&seen, "redirected") > 0, "{when}: {seen:?}");
    };
    let stays_out = |what: &str| {
        let seen = exchange(&network, at);
        assert_eq!(seen.of("not_enrolled").sockets, u64::from(CONNECTIONS), "{what}: {seen:?}");
        assert_eq!(messages(&seen, "redirected"), 0, "{what}: {seen:?}");
    };
    accelerates("at first");

    let mut known = ends(&attached[0].node_map("ENDS").unwrap());
    let added = fill(&mut known);
    stays_out("no room for what ends know of each other");
    added.iter().for_each(|key| known.remove(key).unwrap());
    accelerates("with room again");

    let filled = Filled::sockets(&attached[0].node_map("SOCKS").unwrap());
    stays_out("no room for sockets");
    assert!(!attached[0].node_map_is_empty("SOCKS").unwrap(), "it is full");
    drop(filled);
    until("closed sockets leave the map", MET_WITHIN, || attached[0].node_map_is_empty("SOCKS").unwrap());
    accelerates("with room again");

    // Ends vanish as soon as they are published, some before the other end has looked.
    let churn = Load::churning(at, CONNECTIONS).start(&network.outside).unwrap();
    let deadline = Instant::now() + MET_WITHIN;
    while messages(&Acceleration::of_pod(&network.outside).unwrap(), "no_peer") == 0 {
        assert!(Instant::now() < deadline, "every end was found in time");
        let round = Instant::now();
        while round.elapsed() < Duration::from_millis(200) {
            for key in known.keys().filter_map(Result::ok).collect::<Vec<_>>() {
                let _ = known.remove(&key);
            }
        }
    }
    let exchanges = churn.finish().unwrap();
    assert!(exchanges.failed.is_empty(), "{exchanges:?}");
    // Until then the server counts as one of short connections.
    std::thread::sleep(Duration::from_millis(1100));
    accelerates("with ends that stay");
}
