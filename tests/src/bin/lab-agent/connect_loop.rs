//! How long a blocking connect takes: for every line of standard input, that many connects and their median.

use std::fs::File;
use std::io::BufRead;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use tests::report::ConnectTimes;

use crate::enter::become_user;

/// Connects before those that count: the caches belong to others between two turns.
const WARM_UP: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct ConnectLoop {
    /// The listener is this process's own, so that nothing has to be woken.
    #[arg(long)]
    to: SocketAddr,
    /// Namespace of the listener [default: this one].
    #[arg(long)]
    listen_in: Option<PathBuf>,
    /// uid:gid to connect as.
    #[arg(long)]
    user: String,
}

impl ConnectLoop {
    pub(crate) fn run(self) -> Result<()> {
        let listener = self.listen()?;
        let (uid, gid) = self.user.split_once(':').context("--user wants uid:gid")?;
        become_user(uid.parse()?, gid.parse()?)?;
        println!("ready");
        for line in std::io::stdin().lock().lines() {
            let count: usize = line?.trim().parse().context("a line is a number of connects")?;
            let times = self.times(&listener, count)?;
            println!("{}", serde_json::to_string(&times)?);
        }
        Ok(())
    }

    fn listen(&self) -> Result<TcpListener> {
        let own = File::open("/proc/self/ns/net").context("open this namespace")?;
        if let Some(path) = &self.listen_in {
            let other = File::open(path).with_context(|| format!("open {}", path.display()))?;
            setns(other, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", path.display()))?;
        }
        let listener = TcpListener::bind(self.to).with_context(|| format!("listen on {}", self.to))?;
        setns(own, CloneFlags::CLONE_NEWNET).context("return to this namespace")?;
        Ok(listener)
    }

    fn times(&self, listener: &TcpListener, count: usize) -> Result<ConnectTimes> {
        ensure!(count > 0, "no connects");
        for _ in 0..WARM_UP {
            self.time(listener)?;
        }
        let mut times = (0..count).map(|_| self.time(listener)).collect::<Result<Vec<u64>>>()?;
        times.sort_unstable();
        Ok(ConnectTimes { count, median_ns: times[count / 2], min_ns: times[0], max_ns: times[count - 1] })
    }

    /// One connect in nanoseconds. Ends with a reset, which leaves no TIME_WAIT.
    fn time(&self, listener: &TcpListener) -> Result<u64> {
        let family = if self.to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let client = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("socket")?;
        let address = SockaddrStorage::from(self.to);
        let started = Instant::now();
        connect(client.as_raw_fd(), &address).with_context(|| format!("connect to {}", self.to))?;
        let took = started.elapsed();
        let _accepted = listener.accept().context("accept")?;
        setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })
            .context("SO_LINGER")?;
        Ok(u64::try_from(took.as_nanos())?)
    }
}
