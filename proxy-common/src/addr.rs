//! Addresses and ports as they stand on the wire: big-endian bytes, alignment 1.

/// An IPv6 address, or an IPv4 address in its v4-mapped form `::ffff:a.b.c.d`, in network order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Addr(pub [u8; 16]);

/// A TCP or UDP port in network order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct Port(pub [u8; 2]);

const _: () = assert!(size_of::<Addr>() == 16 && align_of::<Addr>() == 1);
const _: () = assert!(size_of::<Port>() == 2 && align_of::<Port>() == 1);

const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Addr {
    pub const UNSPECIFIED: Self = Self([0; 16]);
    /// `::1`
    pub const V6_LOOPBACK: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// `::6`
    pub const V6_PASSTHROUGH: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6]);
    /// `127.0.0.1`
    pub const V4_LOOPBACK: Self = Self::v4([127, 0, 0, 1]);

    #[inline(always)]
    pub const fn v4(o: [u8; 4]) -> Self {
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, o[0], o[1], o[2], o[3]])
    }

    #[inline(always)]
    pub fn is_v4(&self) -> bool {
        self.0[..12] == MAPPED
    }

    /// The IPv4 octets; meaningful when [`Addr::is_v4`].
    #[inline(always)]
    pub fn octets4(&self) -> [u8; 4] {
        [self.0[12], self.0[13], self.0[14], self.0[15]]
    }

    /// Both halves, in this machine's order of bytes.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 2] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])]
    }

    /// Of both halves.
    pub const fn of_words([a, b]: [u64; 2]) -> Self {
        let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) = (a.to_ne_bytes(), b.to_ne_bytes());
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }

    /// `0.0.0.0`, `::` or `::ffff:0.0.0.0`: what an unbound socket carries.
    #[inline(always)]
    pub fn is_unspecified(&self) -> bool {
        self.0 == Self::UNSPECIFIED.0 || self.0 == Self::v4([0; 4]).0
    }

    /// 224.0.0.0/4, 255.255.255.255 or ff00::/8.
    #[inline(always)]
    pub fn is_multicast(&self) -> bool {
        if self.is_v4() {
            self.0[12] & 0xf0 == 0xe0 || self.0 == Self::v4([255; 4]).0
        } else {
            self.0[0] == 0xff
        }
    }

    /// 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        if self.is_v4() { self.0[12] == 127 } else { self.0 == Self::V6_LOOPBACK.0 }
    }

    /// The source of the sidecar's upstream connections: 127.0.0.6 or ::6 (Istio >= 1.10, inbound passthrough).
    #[inline(always)]
    pub fn is_passthrough_source(&self) -> bool {
        const V4: [u8; 16] = Addr::v4([127, 0, 0, 6]).0;
        self.0 == V4 || self.0 == Self::V6_PASSTHROUGH.0
    }
}

impl Port {
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self(host.to_be_bytes())
    }

    #[inline(always)]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

#[cfg(any(test, feature = "std"))]
mod host {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::Addr;

    impl From<IpAddr> for Addr {
        fn from(ip: IpAddr) -> Self {
            match ip {
                IpAddr::V4(v4) => v4.into(),
                IpAddr::V6(v6) => v6.into(),
            }
        }
    }

    impl From<Ipv4Addr> for Addr {
        fn from(ip: Ipv4Addr) -> Self {
            Self::v4(ip.octets())
        }
    }

    impl From<Ipv6Addr> for Addr {
        fn from(ip: Ipv6Addr) -> Self {
            Self(ip.octets())
        }
    }

    impl From<Addr> for IpAddr {
        fn from(addr: Addr) -> Self {
            Ipv6Addr::from(addr.0).to_canonical()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn mapped_and_native_forms_round_trip() {
        for text in ["127.0.0.1", "10.1.2.3", "::1", "::6", "fd00::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
        }
    }

    #[test]
    fn loopback_is_the_whole_v4_block_and_one_v6_address() {
        let addr = |s: &str| Addr::from(s.parse::<IpAddr>().unwrap());
        assert!(addr("127.9.9.9").is_loopback() && addr("::1").is_loopback());
        assert!(!addr("::6").is_loopback() && !addr("10.0.0.1").is_loopback());
        assert!(addr("224.0.0.1").is_multicast() && addr("239.1.1.1").is_multicast());
        assert!(addr("255.255.255.255").is_multicast() && addr("ff02::1").is_multicast());
        assert!(!addr("223.0.0.1").is_multicast() && !addr("240.0.0.1").is_multicast());
        assert!(!addr("fe80::1").is_multicast());
        assert!(addr("::6").is_passthrough_source() && addr("127.0.0.6").is_passthrough_source());
    }
}
