//! An open network namespace.

use std::{
    fs::File,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use proxy_core::{
    exit::{Class, Failure},
    harmless::harmless_path,
};

use crate::sys;

const NSFS_MAGIC: i64 = 0x6e73_6673;
const NEXT: &str = "give --netns /proc/<pid>/ns/net or /run/netns/<name>";

/// What identifies a namespace while it lives. A number may come back after it is gone: the cookie never does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct NetnsId {
    pub ino: u64,
    pub dev: u64,
}

/// Whether the caller is in the namespace the machine started with.
pub fn is_first_here() -> bool {
    // net/core/sysctl_net_core.c: net_core_table is only there.
    Path::new("/proc/sys/net/core/netdev_max_backlog").exists()
}

#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
    id: NetnsId,
}

impl Netns {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| {
            Failure::error(
                Class::of_argument(&error),
                format!("network namespace {}: cannot be opened ({error}); {NEXT}", harmless_path(path)),
            )
        })?;
        let stat = nix::sys::statfs::fstatfs(&file).context("fstatfs")?;
        if stat.filesystem_type().0 != NSFS_MAGIC {
            return Err(Failure::error(
                Class::Usage,
                format!("network namespace {}: this is no namespace file; {NEXT}", harmless_path(path)),
            ));
        }
        let meta = file.metadata().context("stat of the network namespace")?;
        Ok(Self { file, path: path.to_owned(), id: NetnsId { ino: meta.ino(), dev: meta.dev() } })
    }

    /// The namespace this process was started in.
    pub fn own() -> Result<Self> {
        Self::open(Path::new("/proc/self/ns/net"))
    }

    pub fn id(&self) -> NetnsId {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` inside.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        sys::setns::within(self.as_fd(), work).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Failure::error(
                Class::Usage,
                format!("{}: this is not a network namespace; {NEXT}", self.path.display()),
            ),
            _ => anyhow!(error).context(format!("enter the network namespace {}", self.path.display())),
        })?
    }

    /// Whether it is the one that the machine has started with, or this process: no pod's.
    pub fn is_the_machines(&self) -> Result<bool> {
        if self.id == Self::own()?.id {
            return Ok(true);
        }
        self.within(|| Ok(is_first_here()))
    }

    /// The number by which the BPF programs know it; None before Linux 5.14.
    pub fn cookie(&self) -> Result<Option<u64>> {
        self.within(|| {
            let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))
                .or_else(|_| std::net::UdpSocket::bind(("0.0.0.0", 0)))
                .context("open a socket in the network namespace")?;
            match sys::socket_cookie::netns_cookie(socket.as_fd()) {
                Ok(cookie) => Ok(Some(cookie)),
                Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(None),
                Err(error) => Err(error).context("SO_NETNS_COOKIE"),
            }
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
