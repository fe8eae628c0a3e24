//! The relay over loopback, with the original destination told by the test.

mod blackhole;
mod drain;
mod forward;
mod half_close;
mod refused;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::{
    Mode, RelayArgs,
    listener::Direction,
    original_dst::{Lookup, OriginalDst},
    server::Relay,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A relay on ports of the kernel's choice, in a task of its own.
struct Running {
    outbound: SocketAddr,
    inbound: SocketAddr,
    log: PathBuf,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    _dir: TempDir,
}

impl Running {
    fn start(mode: Mode, lookup: Box<Lookup>) -> Self {
        Self::start_on(LOOPBACK, mode, 5, lookup)
    }

    fn start_on(ip: IpAddr, mode: Mode, drain: u64, lookup: Box<Lookup>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.jsonl");
        let any_port = SocketAddr::new(ip, 0);
        let args = RelayArgs {
            outbound: vec![any_port],
            inbound: vec![any_port],
            mode,
            declared_ports: Vec::new(),
            access_log: Some(log.clone()),
            drain,
        };
        let relay = Relay::bind(&args, lookup).unwrap();
        let address = |wanted| relay.addresses().find(|(direction, _)| *direction == wanted).unwrap().1;
        let (outbound, inbound) = (address(Direction::Outbound), address(Direction::Inbound));
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(relay.serve(async { stopped.await.unwrap_or(()) }));
        Self { outbound, inbound, log, stop, ended, _dir: dir }
    }

    /// Stops it, and returns its log once every connection has ended.
    async fn finish(self) -> Vec<Value> {
        self.stop.send(()).unwrap();
        soon(self.ended).await.unwrap();
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Every connection was going to `address`.
fn always(address: SocketAddr) -> Box<Lookup> {
    Box::new(move |_: &TcpStream| -> io::Result<OriginalDst> { Ok(OriginalDst(address)) })
}

async fn server(ip: IpAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A test that hangs fails instead.
async fn soon<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future).await.expect("still waiting after 10 s")
}
