//! TCP servers in a pod.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::pod::Pod;
use crate::process::{Command, Process, READY_WITHIN};
use crate::report::Accepted;

/// uid and gid of applications.
pub const APP_USER: (u32, u32) = (1000, 1000);
/// uid and gid of the sidecar.
pub const PROXY_USER: (u32, u32) = (1337, 1337);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a server says to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Speech {
    Banner(String),
    Report,
    Echo,
    Silence,
}

/// A server to start. Every accepted connection is recorded, see [`RunningServer::accepted`].
#[derive(Clone, Debug)]
pub struct Server {
    pod: Pod,
    listen: Vec<SocketAddr>,
    user: (u32, u32),
    speech: Speech,
    flags: Vec<String>,
    processes: u32,
}

impl Server {
    /// A server in `pod` that runs as [`APP_USER`] and sends its [`Accepted`] report, one JSON line, to each client.
    pub fn on(pod: &Pod) -> Self {
        Self {
            pod: pod.clone(),
            listen: Vec::new(),
            user: APP_USER,
            speech: Speech::Report,
            flags: Vec::new(),
            processes: 1,
        }
    }

    /// Listens on `address`; may be said several times. `[::]` takes IPv6 only, unless [`Server::dual`].
    pub fn listen(mut self, address: impl Into<SocketAddr>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Runs as this user.
    pub fn user(mut self, (uid, gid): (u32, u32)) -> Self {
        self.user = (uid, gid);
        self
    }

    /// Sends `text` and closes.
    pub fn banner(mut self, text: &str) -> Self {
        self.speech = Speech::Banner(text.to_owned());
        self
    }

    /// Sends back what comes.
    pub fn echo(mut self) -> Self {
        self.speech = Speech::Echo;
        self
    }

    /// Accepts, and says nothing.
    pub fn silent(mut self) -> Self {
        self.speech = Speech::Silence;
        self
    }

    /// Keeps every connection open until the server ends.
    pub fn hold(mut self) -> Self {
        self.flags.push("--hold".into());
        self
    }

    /// `[::]` also takes IPv4, as v4-mapped.
    pub fn dual(mut self) -> Self {
        self.flags.push("--dual".into());
        self
    }

    /// MPTCP, as programs in Go listen.
    pub fn mptcp(mut self) -> Self {
        self.flags.push("--mptcp".into());
        self
    }

    /// Transparent, as the sidecar's listeners in TPROXY mode; needs root.
    pub fn transparent(mut self) -> Self {
        self.flags.push("--transparent".into());
        self
    }

    /// `count` listening sockets per address, with SO_REUSEPORT, as Envoy's workers have.
    pub fn workers(mut self, count: u32) -> Self {
        self.flags.extend(["--workers".into(), count.to_string()]);
        self
    }

    /// `count` processes that share the addresses: for holding more connections than one process may open files.
    pub fn processes(mut self, count: u32) -> Self {
        self.processes = count;
        self.flags.push("--reuseport".into());
        self
    }

    /// Buffer length offered to SO_ORIGINAL_DST (128 unless said).
    pub fn original_dst_length(mut self, length: u32) -> Self {
        self.flags.extend(["--optlen".into(), length.to_string()]);
        self
    }

    /// Listens without blocking, as gunicorn's workers do; what it accepts blocks.
    pub fn nonblocking_listener(mut self) -> Self {
        self.flags.push("--nonblocking-listener".into());
        self
    }

    /// Echoes without blocking at first, and blocking after so many messages of a connection.
    pub fn echo_then_block(mut self, messages: u32) -> Self {
        self.flags.extend(["--block-after".into(), messages.to_string()]);
        self.echo()
    }

    /// Accepts without an address, and asks for it so much later.
    pub fn ask_later(mut self, later: Duration) -> Self {
        self.flags.extend(["--ask-later-ms".into(), later.as_millis().to_string()]);
        self
    }

    /// Starts it; returns once it listens.
    pub fn start(self) -> Result<RunningServer> {
        let processes = (0..self.processes).map(|_| self.command()?.spawn()).collect::<Result<Vec<_>>>()?;
        processes.iter().try_for_each(|process| process.wait_for("ready"))?;
        Ok(RunningServer { processes })
    }

    fn command(&self) -> Result<Command> {
        let (uid, gid) = self.user;
        let mut command = self.pod.agent("serve")?.user(uid, gid).args(&self.flags);
        for address in &self.listen {
            command = command.args(["--listen", &address.to_string()]);
        }
        Ok(match &self.speech {
            Speech::Banner(text) => command.args(["--banner", text]),
            Speech::Report => command.arg("--report"),
            Speech::Echo => command.arg("--echo"),
            Speech::Silence => command,
        })
    }
}

/// A stand-in for the sidecar: listens on 15001 and 15006, IPv4 and IPv6, as [`PROXY_USER`], and reports to its client
/// what it saw and what SO_ORIGINAL_DST said.
pub fn stand_in(pod: &Pod) -> Server {
    let any = ["0.0.0.0:15001", "0.0.0.0:15006", "[::]:15001", "[::]:15006"];
    let listen = any.iter().filter_map(|text| text.parse().ok()).collect();
    Server { listen, ..Server::on(pod).user(PROXY_USER) }
}

/// A sidecar that sends back what comes, on 15001 and 15006, as [`PROXY_USER`]: for [`crate::load::Load`].
pub fn echo_sidecar(pod: &Pod) -> Server {
    let any = ["0.0.0.0:15001", "0.0.0.0:15006"];
    let listen = any.iter().filter_map(|text| text.parse().ok()).collect();
    Server { listen, ..Server::on(pod).user(PROXY_USER).echo() }
}

/// A server that listens.
#[derive(Debug)]
pub struct RunningServer {
    processes: Vec<Process>,
}

impl RunningServer {
    /// Connections accepted so far, in order for each process. A client can have its answer a moment before its
    /// connection shows here: wait with one of the other two where that matters.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.processes.iter().flat_map(Process::records).collect()
    }

    /// Waits until one accepted connection satisfies `wanted`.
    pub fn wait_accepted(&self, wanted: impl Fn(&Accepted) -> bool) -> Result<Accepted> {
        self.wait(|all| all.iter().find(|accepted| wanted(accepted)).cloned())
    }

    /// Waits until at least `count` were accepted; all of them.
    pub fn wait_accepted_count(&self, count: usize) -> Result<Vec<Accepted>> {
        self.wait(|all| (all.len() >= count).then(|| all.to_vec()))
    }

    fn wait<T>(&self, found: impl Fn(&[Accepted]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let all = self.accepted();
            if let Some(value) = found(&all) {
                return Ok(value);
            }
            ensure!(Instant::now() < deadline, "the server never accepted that; it accepted {all:?}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its processes; one unless [`Server::processes`] said otherwise.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }
}
