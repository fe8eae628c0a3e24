//! A unix socket that its owner may connect to, and nobody else, as for a port on loopback there is no such thing.

use std::{
    fs, io,
    os::unix::net::UnixStream as StdUnixStream,
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, umask};
use tokio::net::{UnixListener, UnixStream};

const OWNER_ONLY: Mode = Mode::from_bits_truncate(0o177);

/// Bound; the file is removed with this value.
pub struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl PrivateSocket {
    /// # Errors
    /// When somebody listens there, or it is another kind of file.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let bind = || {
            // Nobody else may connect between this and a later change of its mode.
            let before = umask(OWNER_ONLY);
            let bound = UnixListener::bind(path);
            umask(before);
            bound
        };
        let bound = match bind() {
            // Of a process that was killed: nobody accepts there.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_over(path) => {
                fs::remove_file(path)?;
                bind()
            }
            other => other,
        };
        Ok(Self { listener: bound?, path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn is_left_over(path: &Path) -> bool {
    StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
