//! Pods whose local connections are accelerated, and the traffic that shows it.

use anyhow::Result;

use crate::agent;
use crate::network::Network;
use crate::pod::Pod;
use crate::sidestep::{DEFAULT_FLAGS, Sidestep};

/// How to attach: no redirection unless flags say so, only the acceleration.
#[derive(Clone, Debug)]
pub struct Accelerated {
    mode: String,
    limit: Option<u32>,
    trusts_agent: bool,
}

/// Nothing is captured: connections stay as they are made.
pub const NO_CAPTURE: [&str; 7] = ["-u", "1337", "-i", "", "-b", "", "--dual-stack"];

impl Accelerated {
    /// `safe-readers`, `require`, `off`, or a word of [`crate::any_reader`]; lab-agent is trusted not to splice.
    pub fn new(mode: &str) -> Self {
        Self { mode: mode.to_owned(), limit: None, trusts_agent: true }
    }

    /// Bytes a receiver may have waiting.
    pub fn limit(mut self, bytes: u32) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Without a word about lab-agent.
    pub fn trusting_nobody(mut self) -> Self {
        self.trusts_agent = false;
        self
    }

    /// As flags of `sidestep attach`.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = vec!["--accelerate".to_owned(), self.mode.clone()];
        if let Some(limit) = self.limit {
            flags.extend(["--inflight-limit".to_owned(), limit.to_string()]);
        }
        if self.trusts_agent
            && let Ok(agent) = agent::path()
        {
            flags.extend(["--trust-program".to_owned(), agent.display().to_string()]);
        }
        flags
    }

    /// Attaches `pod`, capturing nothing.
    pub fn attach(&self, pod: &Pod) -> Result<Sidestep> {
        let flags = self.attach_flags();
        Sidestep::attach(pod, &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Attaches `pod` as istio-init captures one.
    pub fn capture(&self, pod: &Pod) -> Result<Sidestep> {
        let own = self.flags();
        let flags: Vec<&str> = DEFAULT_FLAGS.into_iter().chain(own.iter().map(String::as_str)).collect();
        Sidestep::attach(pod, &flags)
    }

    /// All flags of an attach that captures nothing.
    pub fn attach_flags(&self) -> Vec<String> {
        NO_CAPTURE.map(str::to_owned).into_iter().chain(self.flags()).collect()
    }
}

/// Attaches both pods of `network`, one with addresses of its own: what they say to each other is local to the node.
pub fn attach_both(network: &Network, accelerated: &Accelerated) -> Result<[Sidestep; 2]> {
    Ok([accelerated.attach(&network.pod)?, accelerated.attach(&network.outside)?])
}

/// Streams in both directions that are compared byte for byte.
pub mod streams {
    use std::net::SocketAddr;
    use std::time::Duration;

    use anyhow::{Context, Result, ensure};

    use crate::pod::Pod;
    use crate::process::Process;
    use crate::report::Streams;
    use crate::server::APP_USER;

    const DONE_WITHIN: Duration = Duration::from_secs(1200);

    /// A server for [`Client`], as [`APP_USER`], with these flags of `lab-agent stream serve`.
    pub fn serve(pod: &Pod, listen: SocketAddr, flags: &[&str]) -> Result<Process> {
        serve_as(APP_USER, pod, listen, flags)
    }

    /// The same as another user.
    pub fn serve_as(user: (u32, u32), pod: &Pod, listen: SocketAddr, flags: &[&str]) -> Result<Process> {
        let command = pod.agent("stream")?.args(["serve", "--listen", &listen.to_string()]).args(flags);
        let process = command.user(user.0, user.1).spawn()?;
        process.wait_for("ready")?;
        Ok(process)
    }

    /// The side that connects and reports.
    #[derive(Clone, Debug)]
    pub struct Client {
        flags: Vec<String>,
        user: (u32, u32),
    }

    impl Client {
        /// `flows` at a time, as many in all, each with `bytes` each way.
        pub fn to(to: SocketAddr, flows: u64, bytes: u64) -> Self {
            let client = Self { flags: Vec::new(), user: APP_USER };
            client.option("--to", to).option("--flows", flows).option("--bytes", bytes).streams(flows)
        }

        fn option(mut self, flag: &str, value: impl ToString) -> Self {
            self.flags.retain(|word| !word.starts_with(&format!("{flag}=")));
            self.flags.push(format!("{flag}={}", value.to_string()));
            self
        }

        /// In all.
        pub fn streams(self, streams: u64) -> Self {
            self.option("--streams", streams)
        }

        /// Largest chunk given to one write.
        pub fn chunk(self, bytes: usize) -> Self {
            self.option("--chunk", bytes)
        }

        /// Most bytes between two pauses.
        pub fn burst(self, bytes: usize) -> Self {
            self.option("--burst", bytes)
        }

        /// The first bytes leave with the SYN.
        pub fn fast_open(mut self) -> Self {
            self.flags.push("--fast-open".into());
            self
        }

        /// As this user.
        pub fn user(mut self, user: (u32, u32)) -> Self {
            self.user = user;
            self
        }

        /// Starts it in `pod`.
        pub fn start(&self, pod: &Pod) -> Result<Process> {
            let command = pod.agent("stream")?.arg("connect").args(&self.flags);
            command.user(self.user.0, self.user.1).spawn()
        }

        /// Runs it to its end.
        pub fn run(&self, pod: &Pod) -> Result<Streams> {
            finish(self.start(pod)?)
        }
    }

    /// Waits for a started client's report.
    pub fn finish(mut client: Process) -> Result<Streams> {
        let status = client.wait(DONE_WITHIN)?;
        ensure!(status.success(), "{}: {status}: {}", client.line(), client.stderr().trim());
        client.records().pop().with_context(|| format!("{} reported nothing", client.line()))
    }
}
