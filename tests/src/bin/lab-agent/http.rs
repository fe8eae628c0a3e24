//! One HTTP question, perhaps asked until the answer is 200.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use tests::report::HttpAnswer;

const ASK_EVERY: Duration = Duration::from_millis(20);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Http {
    #[arg(long)]
    at: SocketAddr,
    #[arg(long, default_value = "/")]
    path: String,
    /// Ask again until the answer is 200 and contains this.
    #[arg(long)]
    until_contains: Option<String>,
    /// How long to ask again.
    #[arg(long, default_value_t = 10_000)]
    patience_ms: u64,
}

impl Http {
    pub(crate) fn run(self) -> Result<()> {
        let started = Instant::now();
        let patience = Duration::from_millis(self.patience_ms);
        loop {
            let answer = self.ask();
            let done = match (&self.until_contains, &answer) {
                (None, _) => true,
                (Some(text), Ok(answer)) => answer.status == 200 && answer.body.contains(text),
                (Some(_), Err(_)) => false,
            };
            if done {
                println!("{}", serde_json::to_string(&answer?)?);
                return Ok(());
            }
            if started.elapsed() > patience {
                bail!("{}{}: not the answer in {patience:?}: {answer:?}", self.at, self.path);
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn ask(&self) -> Result<HttpAnswer> {
        let mut stream = TcpStream::connect_timeout(&self.at, ANSWER_WITHIN).context("connect")?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(stream, "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.path, self.at)
            .context("write")?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).context("read")?;
        let text = String::from_utf8_lossy(&text);
        let (head, body) = text.split_once("\r\n\r\n").context("no end of headers")?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status line")?;
        Ok(HttpAnswer { status, body: body.to_owned() })
    }
}
