//! A forwarder like the Istio agent's: UDP and TCP on the given addresses, every query passed on to one server. Each
//! query is recorded on standard output.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tests::report::DnsQuery;

use crate::original_dst;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, Args)]
pub(crate) struct DnsForward {
    #[arg(long, required = true)]
    listen: Vec<SocketAddr>,
    #[arg(long)]
    upstream: SocketAddr,
}

impl DnsForward {
    pub(crate) fn run(self) -> Result<()> {
        let mut threads = Vec::new();
        for &address in &self.listen {
            let udp = Arc::new(UdpSocket::bind(address).with_context(|| format!("bind {address}/udp"))?);
            let tcp = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
            let (first, second) = (self.clone(), self.clone());
            threads.push(std::thread::spawn(move || first.serve_udp(&udp)));
            threads.push(std::thread::spawn(move || second.serve_tcp(&tcp)));
        }
        println!("ready");
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a listener's thread panicked"))??;
        }
        Ok(())
    }

    fn serve_udp(&self, socket: &Arc<UdpSocket>) -> Result<()> {
        loop {
            let mut buffer = [0; 4096];
            let (length, client) = socket.recv_from(&mut buffer).context("receive")?;
            record(&DnsQuery { client, tcp: false, original_dst: None })?;
            let (forward, socket, query) = (self.clone(), Arc::clone(socket), buffer[..length].to_vec());
            std::thread::spawn(move || forward.answer_udp(&socket, &query, client));
        }
    }

    /// Out of order, as answers come.
    fn answer_udp(&self, socket: &UdpSocket, query: &[u8], client: SocketAddr) -> Result<()> {
        let any: SocketAddr = if self.upstream.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse()?;
        let upstream = UdpSocket::bind(any)?;
        upstream.connect(self.upstream)?;
        upstream.set_read_timeout(Some(ANSWER_WITHIN))?;
        upstream.send(query)?;
        let mut buffer = [0; 4096];
        let length = upstream.recv(&mut buffer)?;
        socket.send_to(&buffer[..length], client)?;
        Ok(())
    }

    fn serve_tcp(&self, listener: &TcpListener) -> Result<()> {
        loop {
            let (stream, client) = listener.accept().context("accept")?;
            let level = if client.is_ipv4() { libc::SOL_IP } else { libc::SOL_IPV6 };
            let original_dst = original_dst::read(&stream, level, 128).address;
            record(&DnsQuery { client, tcp: true, original_dst })?;
            let forward = self.clone();
            std::thread::spawn(move || forward.pass_on(stream));
        }
    }

    /// Bytes are bytes: the framing is the same on both sides.
    fn pass_on(&self, mut client: TcpStream) -> Result<()> {
        let mut upstream = TcpStream::connect(self.upstream)?;
        let (mut from_client, mut to_upstream) = (client.try_clone()?, upstream.try_clone()?);
        std::thread::spawn(move || -> Result<()> {
            copy(&mut from_client, &mut to_upstream)?;
            Ok(to_upstream.shutdown(std::net::Shutdown::Write)?)
        });
        copy(&mut upstream, &mut client)
    }
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
    }
}

fn record(query: &DnsQuery) -> Result<()> {
    println!("{}", serde_json::to_string(query)?);
    Ok(())
}
