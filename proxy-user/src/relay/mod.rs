//! `sidestep relay`: an L4 sidecar that forwards as Envoy's tcp_proxy with an ORIGINAL_DST cluster does, for the demo
//! and for tests on machines without Envoy. Whoever starts it gives it the sidecar's uid; it needs no privilege.

mod access_log;
mod args;
mod connection;
mod drain;
mod listener;
mod open_files;
pub(crate) mod original_dst;
mod pump;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

pub use self::args::{Mode, RelayArgs};
use self::server::Relay;

/// Relays until SIGTERM or SIGINT, then drains. Prints each bound address (`outbound 0.0.0.0:15001`) and `ready` on
/// stdout.
///
/// # Errors
/// When an address or the access log cannot be had.
pub async fn run(args: RelayArgs) -> Result<()> {
    // Caught from before `ready` on: whoever read that may stop us at once.
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    open_files::raise_limit();
    let relay = Relay::bind(&args, Box::new(original_dst::from_kernel))?;
    announce(&relay).context("print the addresses")?;
    relay
        .serve(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await;
    Ok(())
}

fn announce(relay: &Relay) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    for (direction, address) in relay.addresses() {
        writeln!(stdout, "{} {address}", direction.name())?;
    }
    writeln!(stdout, "ready")?;
    stdout.flush()
}
