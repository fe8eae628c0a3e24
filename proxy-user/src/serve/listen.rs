//! Where the server listens: an address and port, a port of this machine's loopback, or a unix socket.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::Result;
use proxy_agent::private_socket::PrivateSocket;
use proxy_core::exit::{Class, Failure};
use tokio::net::{TcpListener, TcpStream, UnixStream, lookup_host};

const UNIX: &str = "unix:";

/// As it was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    At(SocketAddr),
    /// A name that is resolved when the server starts.
    Named(String, u16),
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "write ADDR:PORT, HOST:PORT, PORT alone for 127.0.0.1, or unix:/PATH";
        if let Some(path) = text.strip_prefix(UNIX) {
            return match Path::new(path) {
                path if path.is_absolute() => Ok(Self::Unix(path.to_owned())),
                _ => Err(format!("a unix socket's path begins with a slash; {FORMS}")),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        if let Ok(port) = text.parse() {
            return Ok(Self::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if text.parse::<IpAddr>().is_err() => (host, port),
            _ => return Err(format!("there is no port in it; {FORMS}")),
        };
        let port = port.parse().map_err(|_| format!("'{port}' is no port between 0 and 65535; {FORMS}"))?;
        let is_name = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        match host {
            "" => Err(format!(
                "which address? 0.0.0.0:{port} is every one, {port} alone this machine's own; {FORMS}"
            )),
            // Not asked of anybody: it is the first of what it stands for everywhere.
            "localhost" => Ok(Self::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))),
            host if is_name(host) => Ok(Self::Named(host.to_owned(), port)),
            host => Err(format!("'{host}' is neither an address nor a name; {FORMS}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => write!(f, "{address}"),
            Self::Named(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Bound.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(PrivateSocket),
}

/// A connection of either kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) async fn bind(listen: &Listen) -> Result<Self> {
        let bound = match listen {
            Listen::At(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Named(host, port) => {
                let addresses = lookup_host((host.as_str(), *port)).await.map_err(|error| {
                    Failure::error(
                        Class::Usage,
                        format!("--listen {listen}: {host} cannot be resolved ({error}); write an address"),
                    )
                })?;
                TcpListener::bind(addresses.collect::<Vec<_>>().as_slice()).await.map(Self::Tcp)
            }
            Listen::Unix(path) => PrivateSocket::bind(path).map(Self::Unix),
        };
        bound.map_err(|error| cannot_listen(listen, &error))
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().await.map(Stream::Unix),
        }
    }

    /// As a client names it.
    pub(super) fn url(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("http://{}", listener.local_addr()?)),
            Self::Unix(socket) => Ok(format!("{UNIX}{}", socket.path().display())),
        }
    }
}

fn cannot_listen(listen: &Listen, error: &io::Error) -> anyhow::Error {
    let next = match (listen, error.kind()) {
        (Listen::Unix(_), io::ErrorKind::AddrInUse) => {
            "somebody else listens there, or it is another kind of file"
        }
        (Listen::Unix(_), _) => "choose a path in a directory that exists and may be written to",
        (_, io::ErrorKind::AddrInUse) => {
            "somebody else listens there (`ss -ltnp`); stop it, or choose another with --listen"
        }
        (_, io::ErrorKind::AddrNotAvailable) => "this host has no such address; choose another with --listen",
        _ => "choose another address with --listen",
    };
    let class =
        if error.kind() == io::ErrorKind::PermissionDenied { Class::Permission } else { Class::Unavailable };
    Failure::error(class, format!("listen on {listen}: {error}; {next}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::address("0.0.0.0:15095", "0.0.0.0:15095")]
    #[case::address_of_ipv6("[::1]:15095", "[::1]:15095")]
    #[case::port("15095", "127.0.0.1:15095")]
    #[case::localhost("localhost:15095", "127.0.0.1:15095")]
    #[case::name("node-1.example.com:80", "node-1.example.com:80")]
    #[case::unix("unix:/run/sidestep.sock", "unix:/run/sidestep.sock")]
    fn forms(#[case] text: &str, #[case] meant: &str) {
        assert_eq!(text.parse::<Listen>().unwrap().to_string(), meant);
    }

    #[rstest]
    #[case::no_port("0.0.0.0", "no port in it")]
    #[case::no_port_of_ipv6("::1", "no port in it")]
    #[case::name_alone("localhost", "no port in it")]
    #[case::too_large("70000", "no port in it")]
    #[case::too_large_behind_a_name("localhost:70000", "'70000' is no port")]
    #[case::service("localhost:http", "'http' is no port")]
    #[case::every_address(":15095", "0.0.0.0:15095 is every one")]
    #[case::relative("unix:sidestep.sock", "begins with a slash")]
    #[case::url("http://localhost:80", "neither an address nor a name")]
    fn what_is_none(#[case] text: &str, #[case] words: &str) {
        let error = text.parse::<Listen>().unwrap_err();
        assert!(error.contains(words) && error.contains("write ADDR:PORT"), "{error}");
    }
}
