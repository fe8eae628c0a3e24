//! What the rules ask about an outgoing call, gathered from its socket and its route. The programs on connect and sendmsg
//! and `explain` call the same function, so that they cannot differ.

use crate::{
    addr::Addr,
    egress::Egress,
    wire::{Owner, Route},
};

/// An outgoing connection or datagram, as its socket tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// TCP, otherwise UDP.
    pub tcp: bool,
    /// Where the kernel sends it: see [`destination`].
    pub dst: Addr,
    pub dport: u16,
    /// The address the socket is bound to; unspecified if it is not bound.
    pub bound: Addr,
    /// SO_MARK of the socket.
    pub mark: u32,
}

/// Why the kernel refuses a call, so that no rule sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The route is unreachable, blackhole or prohibit.
    NoWay,
    /// The socket is bound to a loopback address of IPv4, and the destination is another host
    /// (`net/ipv4/route.c: ip_route_output_key_hash_rcu`). IPv6 has no such check.
    LoopbackSource,
    /// TCP to many hosts (`net/ipv4/tcp_ipv4.c: tcp_v4_connect`, `net/ipv6/tcp_ipv6.c: tcp_v6_connect`).
    Multicast,
}

impl Refusal {
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoWay => "the routing table has no way to it (ENETUNREACH, EACCES or EINVAL)",
            Self::LoopbackSource => "an IPv4 loopback source cannot leave the pod (EINVAL)",
            Self::Multicast => "TCP has no connections to many hosts (ENETUNREACH)",
        }
    }
}

/// Where the kernel sends what is sent to `given`. No address (0.0.0.0, `::`) means this host, and the kernel replaces it
/// after the hooks and before any rule: 0.0.0.0 by the socket's own address, else by 127.0.0.1
/// (`net/ipv4/route.c: ip_route_output_key_hash_rcu`); `::` by `::1`, or 127.0.0.1 if the socket is bound for IPv4
/// (`net/ipv6/tcp_ipv6.c: tcp_v6_connect`). `bound`: the socket's own address, or the one a datagram is sent from.
#[inline(always)]
pub fn destination(given: Addr, bound: &Addr) -> Addr {
    if !given.is_unspecified() {
        return given;
    }
    if !given.is_v4() {
        return if bound.is_v4() { Addr::V4_LOOPBACK } else { Addr::V6_LOOPBACK };
    }
    if bound.is_v4() && !bound.is_unspecified() { *bound } else { Addr::V4_LOOPBACK }
}

impl Call {
    /// What the rules are asked with. `route`: none if no route to the destination is known, which does not mean that
    /// the kernel has none; iptables would capture the call then, so that the rules decide on it as on a remote one.
    ///
    /// # Errors
    /// The kernel refuses the call.
    #[inline(always)]
    pub fn gather(&self, route: Option<&Route>, owner: impl FnOnce() -> Owner) -> Result<Egress, Refusal> {
        let (out_lo, out_excluded) = match route {
            Some(route) if route.is_unreachable() => return Err(Refusal::NoWay),
            Some(route) => (route.is_local(), route.is_excluded()),
            None => (false, false),
        };
        if self.bound.is_v4() && self.bound.is_loopback() && !out_lo {
            return Err(Refusal::LoopbackSource);
        }
        if self.tcp && self.dst.is_multicast() {
            return Err(Refusal::Multicast);
        }
        let src = self.source(route);
        let Owner { uid, gid } = owner();
        let Self { tcp, dst, dport, mark, .. } = *self;
        Ok(Egress { tcp, src, dst, dport, out_lo, out_excluded, uid, gid, mark })
    }

    /// The source address the packet carries: the bound one, or the one the route chooses. Unspecified: unknown.
    #[inline(always)]
    pub fn source(&self, route: Option<&Route>) -> Addr {
        if !self.bound.is_unspecified() {
            return self.bound;
        }
        match route {
            Some(route) if !route.src.is_unspecified() => route.src,
            Some(route) if route.is_local() => self.dst,
            _ => Addr::UNSPECIFIED,
        }
    }

    /// The source an unbound socket has to be given before its destination becomes a loopback address, whose route
    /// would choose a loopback source. Unspecified: none.
    #[inline(always)]
    pub fn source_to_keep(&self, gathered: &Egress) -> Addr {
        if self.bound.is_unspecified() && !gathered.src.is_loopback() {
            gathered.src
        } else {
            Addr::UNSPECIFIED
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::wire::route_flag;

    fn addr(text: &str) -> Addr {
        Addr::from(text.parse::<IpAddr>().unwrap())
    }

    fn call(bound: &str, dst: &str) -> Call {
        Call { tcp: true, dst: addr(dst), dport: 80, bound: addr(bound), mark: 7 }
    }

    fn route(src: &str, flags: u8) -> Route {
        Route { src: addr(src), flags, reserved: [0; 3] }
    }

    fn gather(call: &Call, route: Option<&Route>) -> Result<Egress, Refusal> {
        call.gather(route, || Owner { uid: 1, gid: 2 })
    }

    #[test]
    fn the_kernel_refuses_a_loopback_source_to_another_host_for_ipv4_alone() {
        let remote = |src| route(src, 0);
        for (bound, dst, refused) in [
            ("127.0.0.1", "10.96.0.1", true),
            ("127.0.0.6", "10.96.0.1", true),
            ("::1", "fd00:96::1", false),
            ("::6", "fd00:96::1", false),
            ("10.0.0.2", "10.96.0.1", false),
            ("0.0.0.0", "10.96.0.1", false),
        ] {
            let call = call(bound, dst);
            let of_route = gather(&call, Some(&remote("10.0.0.2"))).err();
            assert_eq!(of_route, refused.then_some(Refusal::LoopbackSource), "{bound} {dst}");
            assert_eq!(gather(&call, None).err(), of_route, "{bound} {dst}");
        }
        let own = call("127.0.0.1", "10.0.0.2");
        assert!(gather(&own, Some(&route("10.0.0.2", route_flag::LOCAL))).is_ok());
    }

    #[test]
    fn an_unreachable_route_comes_before_everything_else() {
        let way = route("10.0.0.2", route_flag::UNREACHABLE | route_flag::EXCLUDED);
        assert_eq!(gather(&call("127.0.0.1", "10.96.0.1"), Some(&way)).err(), Some(Refusal::NoWay));
    }

    #[test]
    fn no_address_is_this_host() {
        for (given, bound, meant) in [
            ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
            ("0.0.0.0", "::", "127.0.0.1"),
            ("0.0.0.0", "10.0.0.2", "10.0.0.2"),
            ("0.0.0.0", "127.0.0.6", "127.0.0.6"),
            ("::", "::", "::1"),
            ("::", "fd00::2", "::1"),
            ("::", "10.0.0.2", "127.0.0.1"),
            ("::", "0.0.0.0", "127.0.0.1"),
            ("10.96.0.1", "10.0.0.2", "10.96.0.1"),
            ("fd00:96::1", "::", "fd00:96::1"),
        ] {
            assert_eq!(destination(addr(given), &addr(bound)), addr(meant), "{given} from {bound}");
        }
    }

    #[test]
    fn tcp_alone_has_no_connections_to_many_hosts() {
        for dst in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
            let tcp = call("::", dst);
            assert_eq!(gather(&tcp, None).err(), Some(Refusal::Multicast), "{dst}");
            assert!(gather(&Call { tcp: false, ..tcp }, None).is_ok(), "{dst}");
        }
    }

    #[test]
    fn the_source_is_bound_or_the_routes_or_for_a_local_destination_itself() {
        let named = route("10.0.0.2", 0);
        let nameless = route("::", 0);
        let local = route("::", route_flag::LOCAL);
        for (bound, way, source) in [
            ("10.0.0.3", Some(&named), "10.0.0.3"),
            ("0.0.0.0", Some(&named), "10.0.0.2"),
            ("::", Some(&named), "10.0.0.2"),
            ("0.0.0.0", Some(&nameless), "::"),
            ("0.0.0.0", Some(&local), "10.96.0.1"),
            ("0.0.0.0", None, "::"),
        ] {
            let call = call(bound, "10.96.0.1");
            assert_eq!(gather(&call, way).unwrap().src, addr(source), "{bound} {way:?}");
        }
    }

    #[test]
    fn only_an_unbound_socket_has_a_source_to_keep_and_none_of_loopback() {
        let keep = |bound: &str, src: &str| {
            let (call, way) = (call(bound, "10.96.0.1"), route(src, 0));
            call.source_to_keep(&gather(&call, Some(&way)).unwrap())
        };
        assert_eq!(keep("0.0.0.0", "10.0.0.2"), addr("10.0.0.2"));
        assert_eq!(keep("10.0.0.3", "10.0.0.2"), Addr::UNSPECIFIED);
        assert_eq!(keep("0.0.0.0", "127.0.0.1"), Addr::UNSPECIFIED);
        assert_eq!(keep("0.0.0.0", "::"), Addr::UNSPECIFIED);
    }

    #[test]
    fn what_the_socket_tells_is_passed_on() {
        let way = route("10.0.0.2", route_flag::EXCLUDED);
        let gathered = gather(&call("0.0.0.0", "10.96.0.1"), Some(&way)).unwrap();
        assert_eq!((gathered.uid, gathered.gid, gathered.mark, gathered.dport), (1, 2, 7, 80));
        assert!(gathered.tcp && gathered.out_excluded && !gathered.out_lo);
    }
}
