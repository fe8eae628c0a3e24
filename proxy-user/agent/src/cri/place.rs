//! Where a runtime's socket is.

use std::{path::Path, time::Duration};

use super::{connection::Connection, runtime::Away};

/// Looked at one after the other where nobody has named the socket. containerd of a Docker installation lies at the first
/// and does not speak the CRI; then it is one of the others.
pub const PLACES: [&str; 5] = [
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
];

/// The first of the places where somebody says who they are.
pub(super) async fn connect<P: AsRef<Path>>(
    places: &[P],
    answer_within: Duration,
) -> Result<Connection, Away> {
    let mut faults = Vec::new();
    for place in places {
        let place = place.as_ref();
        match Connection::open(place, answer_within).await {
            Ok(connection) => return Ok(connection),
            Err(fault) if place.exists() => faults.push(format!("{}: {fault}", place.display())),
            Err(_) => {}
        }
    }
    if faults.is_empty() {
        let all: Vec<String> = places.iter().map(|place| place.as_ref().display().to_string()).collect();
        faults.push(format!("there is no socket at {}", all.join(", ")));
    }
    Err(Away::new(faults.join("; ")))
}
