//! A resolver that keeps one waiting, fails or says nothing: an answer to each question over UDP, with this code and no address.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct DnsAnswer {
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    /// How long each answer takes.
    #[arg(long, default_value_t = 0)]
    after_ms: u64,
    /// RCODE of the answers.
    #[arg(long, default_value_t = 0)]
    code: u8,
    /// No answer.
    #[arg(long)]
    never: bool,
}

impl DnsAnswer {
    pub(crate) fn run(self) -> Result<()> {
        let mut threads = Vec::new();
        for address in &self.listen {
            let socket = UdpSocket::bind(address).with_context(|| format!("bind {address}"))?;
            let (this, socket) = (self.clone(), Arc::new(socket));
            threads.push(thread::spawn(move || this.serve(&socket)));
        }
        println!("ready");
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a listener's thread panicked"))??;
        }
        Ok(())
    }

    fn serve(&self, socket: &Arc<UdpSocket>) -> Result<()> {
        loop {
            let mut buffer = [0; 4096];
            let (length, client) = socket.recv_from(&mut buffer).context("receive")?;
            if self.never {
                continue;
            }
            let (this, socket, mut answer) = (self.clone(), Arc::clone(socket), buffer[..length].to_vec());
            // Many wait at once.
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(this.after_ms));
                (answer[2], answer[3]) = (0x81, 0x80 | this.code);
                socket.send_to(&answer, client)
            });
        }
    }
}
