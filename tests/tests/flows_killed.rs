//! Whose process was killed while its connection was open, and whose connection the other side had closed before: wherever
//! the two ends are, and whatever the processes of other pods leave behind.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};
use tests::accelerated::Accelerated;
use tests::any_reader::ANY_READER;
use tests::client::Connect;
use tests::crowd::{Crowd, Expect};
use tests::data_plane::DataPlane;
use tests::flows::wait_closed;
use tests::network::Network;
use tests::pin_root::PinRoot;
use tests::pod::Pod;
use tests::process::Process;
use tests::report::Outcome;
use tests::requirement::Requirement;
use tests::scale::full_or;
use tests::server::Server;
use tests::sidestep::{Sidestep, ended_command};
use tests::wait::until;

const SEEN_WITHIN: Duration = Duration::from_secs(30);
const PORT: u16 = 7000;
/// `/proc/net/tcp`.
const TCP_CLOSE_WAIT: &str = "08";
/// Nothing is captured.
const NO_CAPTURE: [&str; 6] = ["-u", "1337", "-i", "", "-b", ""];

/// Where the two ends of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Loopback,
    OwnAddress,
    TwoWorkloads,
    ServersAlone,
    ClientsAlone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

struct Place {
    network: Network,
    ends: Ends,
    _attached: Vec<Sidestep>,
}

impl Place {
    fn new(ends: Ends, mode: &str) -> Self {
        let network = Network::with_own_addresses("killed-by").unwrap();
        // Else an end that has closed first is done at once, whatever becomes of the other one (`net/ipv4/tcp.c: __tcp_close`).
        for pod in [&network.pod, &network.outside] {
            pod.sysctl("net/ipv4/tcp_fin_timeout", "120").unwrap();
        }
        let place = Self { network, ends, _attached: Vec::new() };
        let attached = place.workloads().into_iter().map(|pod| Accelerated::new(mode).attach(pod).unwrap());
        let attached = attached.collect();
        Self { _attached: attached, ..place }
    }

    fn workloads(&self) -> Vec<&Pod> {
        let Network { pod, outside, .. } = &self.network;
        match self.ends {
            Ends::Loopback | Ends::OwnAddress | Ends::ServersAlone => vec![pod],
            Ends::TwoWorkloads => vec![pod, outside],
            Ends::ClientsAlone => vec![outside],
        }
    }

    fn client(&self) -> &Pod {
        match self.ends {
            Ends::Loopback | Ends::OwnAddress => &self.network.pod,
            _ => &self.network.outside,
        }
    }

    fn server(&self) -> Server {
        Server::on(&self.network.pod).listen(self.at())
    }

    fn at(&self) -> SocketAddr {
        match self.ends {
            Ends::Loopback => SocketAddr::from(([127, 0, 0, 1], PORT)),
            _ => self.network.pod4(PORT),
        }
    }

    /// A client that has read one line, if it is to, and holds its connection.
    fn holding_client(&self, reads: bool) -> tests::crowd::OpenCrowd {
        // The second address of two.
        let SocketAddr::V4(at) = self.at() else { panic!("{}", self.at()) };
        let before = std::net::Ipv4Addr::from(u32::from(*at.ip()) - 1);
        let crowd = Crowd::to(&format!("{before}/31"), PORT, 1);
        let crowd = if reads { crowd.expect(Expect::Local) } else { crowd };
        let open = crowd.open(self.client()).unwrap();
        assert_eq!(open.counts.connected, 1, "{:?}", open.counts);
        open
    }

    fn wait_close_wait(&self, pod: &Pod) {
        let of_port = format!(":{PORT:04X}");
        until("the other side has closed", SEEN_WITHIN, || {
            let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", pod.pid())).unwrap();
            table.lines().skip(1).any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words[1..3].iter().any(|end| end.ends_with(&of_port)) && words[3] == TCP_CLOSE_WAIT
            })
        });
    }

    /// The one connection ended so, for each workload.
    fn assert_ended(&self, close: &str, by: Side) {
        for pod in self.workloads() {
            let flows = wait_closed(pod, &["--port", &PORT.to_string()], 1).unwrap();
            let [flow] = flows.as_slice() else { panic!("{flows:#?}") };
            let by = if by == Side::Client { "client" } else { "server" };
            assert_eq!((&flow["close"], &flow["closed_by"]), (&json!(close), &json!(by)), "{flow:#}");
        }
    }
}

fn kill<'a>(processes: impl IntoIterator<Item = &'a Process>) {
    for process in processes {
        process.signal(Signal::SIGKILL).unwrap();
        until("it is gone", SEEN_WITHIN, || !process.is_running());
    }
}

/// Who closes first has closed it: what becomes of the other side's process then is no other end.
#[rstest]
fn a_process_that_is_killed_after_the_other_side_has_closed_ends_nothing(
    #[values(Ends::Loopback, Ends::OwnAddress, Ends::TwoWorkloads, Ends::ServersAlone, Ends::ClientsAlone)]
    ends: Ends,
    #[values(Side::Client, Side::Server)] killed: Side,
    #[values("off", ANY_READER)] mode: &str,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let place = Place::new(ends, mode);
    if killed == Side::Server {
        let server = place.server().banner("a line").hold().start().unwrap();
        let seen = Connect::to(place.at()).one_line().from(place.client()).unwrap();
        assert_eq!(seen.outcome(), Outcome::Answered, "{seen:?}");
        place.wait_close_wait(&place.network.pod);
        kill(server.processes());
        place.assert_ended("fin", Side::Client);
    } else {
        let _server = place.server().start().unwrap();
        let client = place.holding_client(true);
        place.wait_close_wait(place.client());
        kill(client.processes());
        place.assert_ended("fin", Side::Server);
    }
}

/// Where the killed end is nobody's on this node, the other one has seen a FIN.
#[rstest]
fn a_process_that_is_killed_while_the_other_side_waits_has_ended_it(
    #[values(Ends::Loopback, Ends::OwnAddress, Ends::TwoWorkloads, Ends::ServersAlone, Ends::ClientsAlone)]
    ends: Ends,
    #[values(Side::Client, Side::Server)] killed: Side,
    #[values("off", ANY_READER)] mode: &str,
) {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let place = Place::new(ends, mode);
    let unknown = if killed == Side::Server { Ends::ClientsAlone } else { Ends::ServersAlone };
    let close = if ends == unknown { "fin" } else { "killed" };
    if killed == Side::Server {
        let server = place.server().silent().hold().start().unwrap();
        let mut client = Connect::to(place.at()).command(place.client()).unwrap().spawn().unwrap();
        server.wait_accepted_count(1).unwrap();
        kill(server.processes());
        client.wait(SEEN_WITHIN).unwrap();
    } else {
        let server = place.server().echo().start().unwrap();
        let client = place.holding_client(false);
        server.wait_accepted_count(1).unwrap();
        kill(client.processes());
    }
    place.assert_ended(close, killed);
}

fn stop(process: &Process) {
    process.signal(Signal::SIGSTOP).unwrap();
    until("it stands still", SEEN_WITHIN, || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    });
}

/// Thousands of ends whose other ends are not done yet.
#[test]
fn what_another_pods_killed_processes_leave_behind_changes_nothing() {
    if !DataPlane::Sidestep.met(&[Requirement::Observation]) {
        return;
    }
    let (own, other) = (Network::new("killed-own").unwrap(), Network::new("killed-other").unwrap());
    let root = PinRoot::new().unwrap();
    for pod in [&own.pod, &other.pod] {
        root.attach(pod, &NO_CAPTURE).unwrap();
    }
    let at = SocketAddr::from(([127, 0, 0, 1], PORT));
    let server = Server::on(&own.pod).listen(at).silent().hold().start().unwrap();
    let mut client = Connect::to(at).within(SEEN_WITHIN).command(&own.pod).unwrap().spawn().unwrap();
    server.wait_accepted_count(1).unwrap();
    stop(&client);
    kill(server.processes());

    let many = full_or(5_000, 10_000);
    let server = Server::on(&other.pod).listen(at).silent().hold().start().unwrap();
    let crowd = Crowd::to("127.0.0.0/31", PORT, many).open(&other.pod).unwrap();
    assert_eq!(crowd.counts.connected, many, "{:?}", crowd.counts);
    server.wait_accepted_count(many as usize).unwrap();
    crowd.processes().iter().for_each(stop);
    kill(server.processes());

    client.signal(Signal::SIGCONT).unwrap();
    client.wait(SEEN_WITHIN).unwrap();
    let workload = own.pod.workload().unwrap();
    let listed = ["flows", "--output", "json", "--workload", &workload];
    let closed = || -> Vec<Value> {
        let text = ended_command(root.command(&listed).unwrap()).unwrap().stdout;
        let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|flow| flow["state"] == "closed").collect()
    };
    until("its flow is closed", SEEN_WITHIN, || !closed().is_empty());
    let flows = closed();
    let [flow] = flows.as_slice() else { panic!("{flows:#?}") };
    assert_eq!((&flow["close"], &flow["closed_by"]), (&json!("killed"), &json!("server")), "{flow:#}");
}
