//! The connection somebody asks about, as it is written on the command line.

use std::{net::IpAddr, net::SocketAddr, str::FromStr};

/// Who opens the connection: `uid:gid`, `uid:gid@source`, or for what arrives from outside `@source` alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// uid and gid of the process that created the socket.
    pub owner: Option<(u32, u32)>,
    /// The address the socket is bound to; v4-mapped ones as IPv4.
    pub src: Option<IpAddr>,
}

/// `[tcp|udp:]address:port`; v4-mapped addresses as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    pub tcp: bool,
    pub ip: IpAddr,
    pub port: u16,
}

/// One connection or datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub caller: Caller,
    pub to: Destination,
    /// It arrives from outside the pod; otherwise a process of the pod opens it.
    pub inbound: bool,
    /// By which interface it arrives, or, without a pod to look at, leaves.
    pub interface: Option<String>,
    /// SO_MARK of the socket.
    pub mark: u32,
}

impl FromStr for Caller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (owner, src) = match text.split_once('@') {
            Some((owner, src)) => (owner, Some(address(src)?)),
            None => (text, None),
        };
        if owner.is_empty() && src.is_some() {
            return Ok(Self { owner: None, src });
        }
        let Some((uid, gid)) = owner.split_once(':') else {
            return Err(format!("{owner:?} has no group; write uid:gid, for example 1000:1000"));
        };
        Ok(Self { owner: Some((id(uid, "uid")?, id(gid, "gid")?)), src })
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tcp, pod) = match text.split_once(':') {
            Some(("tcp", rest)) => (true, rest),
            Some(("udp", rest)) => (false, rest),
            _ => (true, text),
        };
        let to: SocketAddr = pod.parse().map_err(|_| wrong_destination(pod))?;
        Ok(Self { tcp, ip: to.ip().to_canonical(), port: to.port() })
    }
}

fn id(text: &str, what: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("{text:?} is not a {what}; give its number (`id` prints it)"))
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_canonical()),
        Err(_) if text.parse::<SocketAddr>().is_ok() => {
            Err(format!("source {text:?} has a port, which no rule looks at; leave it out"))
        }
        Err(_) => Err(format!("source {text:?} is not an IP address; write it as 10.0.0.1 or fd00::1")),
    }
}

fn wrong_destination(text: &str) -> String {
    const FORM: &str = "write address:port, for example 10.0.0.1:80 or [::1]:53";
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4()) {
        return format!("destination {text:?} has no port; {FORM}");
    }
    if text.parse::<IpAddr>().is_ok() {
        return format!(
            "destination {text:?} has no port or no brackets; write an IPv6 address as [{text}]:80"
        );
    }
    match text.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_err() => {
            format!("destination {text:?}: {port:?} is not a port between 0 and 65535; {FORM}")
        }
        Some((host, _)) if host.contains('%') => {
            format!("destination {text:?} has a zone, which no rule looks at; leave it out")
        }
        Some((host, port)) if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) => {
            format!("destination {text:?}: an IPv6 address needs brackets; write [{host}]:{port}")
        }
        Some((host, _)) => {
            format!(
                "destination {text:?}: {host:?} is not an IP address, and names are not looked up; {FORM}"
            )
        }
        None => format!("destination {text:?} is not an address with a port; {FORM}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::bare("10.0.0.1:80", true, "10.0.0.1", 80)]
    #[case::udp("udp:10.0.0.1:53", false, "10.0.0.1", 53)]
    #[case::v6("tcp:[::1]:53", true, "::1", 53)]
    #[case::v6_bare("[fd00::1]:443", true, "fd00::1", 443)]
    #[case::mapped("[::ffff:10.0.0.1]:80", true, "10.0.0.1", 80)]
    fn destinations(#[case] text: &str, #[case] tcp: bool, #[case] ip: &str, #[case] port: u16) {
        assert_eq!(text.parse(), Ok(Destination { tcp, ip: ip.parse().unwrap(), port }));
    }

    #[rstest]
    #[case::no_port("10.0.0.1", "has no port")]
    #[case::no_brackets("::1", "as [::1]:80")]
    #[case::no_brackets_port("fd00::1:x", "not a port")]
    #[case::port_range("10.0.0.1:70000", "\"70000\" is not a port")]
    #[case::name("reviews:9080", "names are not looked up")]
    #[case::protocol("sctp:10.0.0.1:80", "names are not looked up")]
    #[case::zone("[fe80::1%eth0]:80", "zone")]
    #[case::empty("", "write address:port")]
    fn wrong_destinations(#[case] text: &str, #[case] says: &str) {
        let error = text.parse::<Destination>().unwrap_err();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn callers() {
        let caller = |text: &str| text.parse::<Caller>();
        assert_eq!(caller("1000:2000"), Ok(Caller { owner: Some((1000, 2000)), src: None }));
        let src = Some("::1".parse().unwrap());
        assert_eq!(caller("0:0@[::1]"), Ok(Caller { owner: Some((0, 0)), src }));
        assert_eq!(caller("@::1"), Ok(Caller { owner: None, src }));
        assert_eq!(caller("1:1@::ffff:10.0.0.1").unwrap().src, Some("10.0.0.1".parse().unwrap()));
        for (text, says) in [
            ("1000", "has no group"),
            ("root:0", "\"root\" is not a uid"),
            ("0:-1", "\"-1\" is not a gid"),
            ("0:0@10.0.0.1:80", "has a port"),
            ("0:0@here", "is not an IP address"),
            ("", "has no group"),
        ] {
            let error = caller(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
