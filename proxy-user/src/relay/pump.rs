//! Bytes from one connection to the other, both ways, with each way's end of stream passed on by itself.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
};

const CHUNK: usize = 32 * 1024;

/// Bytes passed on so far; readable while the copying goes on and after it was cut short.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// From the downstream to the upstream.
    pub(super) received: AtomicU64,
    /// From the upstream to the downstream.
    pub(super) sent: AtomicU64,
}

/// Copies both ways until both have ended.
///
/// # Errors
/// The first error of either connection. A failing read ends both ways at once. A failing write ends only its own:
/// a server may refuse the rest of a request with an answer that is still to be delivered.
pub(super) async fn both_ways(down: &mut TcpStream, up: &mut TcpStream, carried: &Carried) -> io::Result<()> {
    let (down_read, mut down_write) = down.split();
    let (up_read, mut up_write) = up.split();
    let (request, response) = tokio::try_join!(
        one_way(&down_read, &mut up_write, &carried.received),
        one_way(&up_read, &mut down_write, &carried.sent),
    )?;
    match request.or(response) {
        Some(write_error) => Err(write_error),
        None => Ok(()),
    }
}

/// `Ok(Some)` is a failed write, `Err` a failed read.
async fn one_way(
    from: &ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    count: &AtomicU64,
) -> io::Result<Option<io::Error>> {
    loop {
        tokio::select! {
            readable = from.readable() => readable?,
            // A reset after the end of the other way's stream: nothing else would tell, since a client that waits
            // for a close does not write.
            broken = to.ready(Interest::ERROR) => {
                broken?;
                return Ok(Some(io::ErrorKind::BrokenPipe.into()));
            }
        }
        // Held only while there is something to copy: most of many connections are idle.
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            match from.try_read_buf(&mut chunk) {
                Ok(0) => {
                    return Ok(to.shutdown().await.err().filter(|e| e.kind() != io::ErrorKind::NotConnected));
                }
                Ok(_) => {
                    if let Err(error) = to.write_all(&chunk).await {
                        return Ok(Some(error));
                    }
                    count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}
