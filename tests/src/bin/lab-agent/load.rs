//! Steady traffic to an echo server: connections that live, or a new one for every exchange.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use clap::Args;
use nix::errno::Errno;
use tests::report::Exchanges;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// However long the test forgets to stop it; what is done under load takes minutes on an emulated machine.
const AT_MOST: Duration = Duration::from_secs(1200);

#[derive(Debug, Args)]
pub(crate) struct Load {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 4)]
    connections: u32,
    /// A new connection for every exchange.
    #[arg(long)]
    renew: bool,
    #[arg(long, default_value_t = 1)]
    pause_ms: u64,
}

struct Shared {
    stop: AtomicBool,
    exchanges: Mutex<Exchanges>,
    /// Workers that have had their first exchange.
    started: AtomicU32,
}

impl Load {
    pub(crate) fn run(self) -> Result<()> {
        let shared =
            Shared { stop: AtomicBool::new(false), exchanges: Mutex::default(), started: AtomicU32::new(0) };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.connections).map(|_| scope.spawn(|| self.work(&shared))).collect();
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            shared.stop.store(true, Ordering::Relaxed);
            workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked")))
        })?;
        let exchanges = shared.exchanges.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        println!("{}", serde_json::to_string(&exchanges)?);
        Ok(())
    }

    fn work(&self, shared: &Shared) {
        let deadline = Instant::now() + AT_MOST;
        let mut stream = None;
        for number in 0u64.. {
            if shared.stop.load(Ordering::Relaxed) || Instant::now() > deadline {
                return;
            }
            let result = self.exchange(&mut stream, number);
            let failed = result.is_err();
            count(shared, result);
            // The token once every worker has had a turn.
            if number == 0 && shared.started.fetch_add(1, Ordering::Relaxed) + 1 == self.connections {
                println!("ready");
            }
            // A broken lasting connection stays broken: that it broke is the result.
            if failed && !self.renew {
                return;
            }
            if self.renew {
                stream = None;
            }
            std::thread::sleep(Duration::from_millis(self.pause_ms));
        }
    }

    fn exchange(&self, stream: &mut Option<BufReader<TcpStream>>, number: u64) -> io::Result<()> {
        let stream = match stream {
            Some(stream) => stream,
            None => {
                let fresh = TcpStream::connect_timeout(&self.to, ANSWER_WITHIN)?;
                fresh.set_read_timeout(Some(ANSWER_WITHIN))?;
                stream.insert(BufReader::new(fresh))
            }
        };
        let sent = format!("{number}\n");
        stream.get_mut().write_all(sent.as_bytes())?;
        let mut got = String::new();
        stream.read_line(&mut got)?;
        match got {
            got if got == sent => Ok(()),
            got if got.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            got => Err(io::Error::other(format!("sent {sent:?}, got {got:?}"))),
        }
    }
}

fn count(shared: &Shared, result: io::Result<()>) {
    let mut exchanges = shared.exchanges.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match result {
        Ok(()) => exchanges.completed += 1,
        Err(error) => {
            let name = error.raw_os_error().map(|code| format!("{:?}", Errno::from_raw(code)));
            *exchanges.failed.entry(name.unwrap_or_else(|| error.to_string())).or_default() += 1;
        }
    }
}
