//! A lock that others hold for a moment.

use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

const PAUSE: Duration = Duration::from_millis(1);

/// Takes it, for itself alone; `EWOULDBLOCK` where others still have it then.
pub(crate) fn exclusive(mut file: File, deadline: Instant) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => {
                file = back;
                thread::sleep(PAUSE);
            }
            other => return other.map_err(|(_, error)| error),
        }
    }
}
