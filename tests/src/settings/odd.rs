//! Values that are unusual: wrong, taken by accident, or right although they do not look so.

use super::name::{self, Name};
use super::said::{Said, Way};
use crate::random::Random;

/// What is odd about a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Wrong, wherever it is read.
    Wrong,
    /// Looks odd, and is fine.
    Right,
    PortRange,
    PortName,
    PortSign,
    PortList,
    PortZero,
    LeadingZero,
    Hexadecimal,
    Blank,
    UidRange,
    UidName,
    UidNobody,
    LastUid,
    Mode,
    InterfaceWildcard,
    InterfaceName,
    Table,
    Variable,
    TwoWords,
    Positional,
    NegativeTimeout,
    ManyGroups,
    /// Right, and no rules come of it.
    NothingDone,
}

/// A value, or words, that every third setting has one of.
#[derive(Debug)]
pub struct Odd {
    /// `None`: the text is words of the command line.
    pub name: Option<&'static Name>,
    pub text: &'static str,
    pub kind: Kind,
    by: By,
}

/// How it can be said.
#[derive(Clone, Copy, Debug)]
enum By {
    Any,
    Flag,
    Variable,
}

const fn odd(name: &'static Name, text: &'static str, kind: Kind) -> Odd {
    Odd { name: Some(name), text, kind, by: By::Any }
}

const fn by_flag(name: &'static Name, text: &'static str, kind: Kind) -> Odd {
    Odd { name: Some(name), text, kind, by: By::Flag }
}

const fn by_variable(name: &'static Name, text: &'static str, kind: Kind) -> Odd {
    Odd { name: Some(name), text, kind, by: By::Variable }
}

const fn words(text: &'static str, kind: Kind) -> Odd {
    Odd { name: None, text, kind, by: By::Any }
}

#[rustfmt::skip]
pub static ODD: [Odd; 128] = [
    odd(&name::ENVOY_PORT, "0", Kind::PortZero),
    odd(&name::ENVOY_PORT, "65536", Kind::Wrong),
    odd(&name::ENVOY_PORT, "http", Kind::PortName),
    odd(&name::ENVOY_PORT, "15001-15010", Kind::PortRange),
    odd(&name::ENVOY_PORT, "", Kind::Wrong),
    odd(&name::ENVOY_PORT, "015001", Kind::LeadingZero),
    odd(&name::ENVOY_PORT, " 15001 ", Kind::Right),
    odd(&name::CAPTURE_PORT, "+15006", Kind::PortSign),
    odd(&name::CAPTURE_PORT, "0", Kind::PortZero),
    odd(&name::CAPTURE_PORT, "15006,15007", Kind::Wrong),
    odd(&name::CAPTURE_PORT, "0x3a9e", Kind::Hexadecimal),
    odd(&name::TUNNEL_PORT, "x", Kind::Wrong),
    odd(&name::TUNNEL_PORT, "70000", Kind::Wrong),
    odd(&name::TUNNEL_PORT, "15008:15010", Kind::PortRange),
    odd(&name::TUNNEL_PORT, "", Kind::Wrong),
    odd(&name::TUNNEL_PORT, "022", Kind::LeadingZero),
    odd(&name::PROXY_UID, "4294967295", Kind::LastUid),
    odd(&name::PROXY_UID, "4294967296", Kind::Wrong),
    odd(&name::PROXY_UID, "1000-1010", Kind::UidRange),
    odd(&name::PROXY_UID, "0x539", Kind::Hexadecimal),
    odd(&name::PROXY_UID, "01337", Kind::LeadingZero),
    odd(&name::PROXY_UID, "istio-proxy", Kind::UidName),
    odd(&name::PROXY_UID, "nobody-here", Kind::Wrong),
    odd(&name::PROXY_UID, "1337, 1338", Kind::Blank),
    odd(&name::PROXY_UID, ",", Kind::UidNobody),
    odd(&name::PROXY_UID, "1337;1338", Kind::Wrong),
    odd(&name::PROXY_GID, "-1", Kind::Wrong),
    odd(&name::PROXY_GID, "ftp", Kind::UidName),
    odd(&name::PROXY_GID, "1000-1010", Kind::UidRange),
    odd(&name::PROXY_GID, "4294967295", Kind::LastUid),
    odd(&name::PROXY_GID, " ", Kind::UidNobody),
    odd(&name::PROXY_GID, ",,", Kind::UidNobody),
    odd(&name::MODE, "tproxy", Kind::Mode),
    odd(&name::MODE, "NONE", Kind::Mode),
    odd(&name::MODE, "TPROXY ", Kind::Mode),
    odd(&name::INBOUND_PORTS, ",", Kind::Right),
    odd(&name::INBOUND_PORTS, "*,80", Kind::Wrong),
    odd(&name::INBOUND_PORTS, " *", Kind::Blank),
    odd(&name::INBOUND_PORTS, "80, 443", Kind::Blank),
    odd(&name::INBOUND_PORTS, "8000:8010", Kind::PortRange),
    odd(&name::INBOUND_PORTS, "80-90", Kind::Wrong),
    odd(&name::INBOUND_PORTS, "http", Kind::PortName),
    odd(&name::INBOUND_PORTS, "gopher-of-nobody", Kind::Wrong),
    odd(&name::INBOUND_PORTS, "022", Kind::LeadingZero),
    odd(&name::INBOUND_PORTS, "65536", Kind::Wrong),
    odd(&name::INBOUND_PORTS, "0", Kind::Right),
    odd(&name::INBOUND_PORTS, "80;443", Kind::Wrong),
    odd(&name::INBOUND_EXCLUDE, "*", Kind::Wrong),
    odd(&name::INBOUND_EXCLUDE, "22,http", Kind::PortName),
    odd(&name::INBOUND_EXCLUDE, "022", Kind::LeadingZero),
    odd(&name::INBOUND_EXCLUDE, "1:1024", Kind::PortRange),
    odd(&name::INBOUND_EXCLUDE, "15090,15021,15020,,", Kind::Right),
    odd(&name::INBOUND_EXCLUDE, "99999", Kind::Wrong),
    odd(&name::OUTBOUND_PORTS, "*", Kind::Wrong),
    odd(&name::OUTBOUND_PORTS, "8080,", Kind::Right),
    odd(&name::OUTBOUND_PORTS, "0080", Kind::LeadingZero),
    odd(&name::OUTBOUND_PORTS, "+80", Kind::PortSign),
    odd(&name::OUTBOUND_PORTS, "80,,81, ,", Kind::PortList),
    odd(&name::OUTBOUND_EXCLUDE, "80 81", Kind::Wrong),
    odd(&name::OUTBOUND_EXCLUDE, "ssh", Kind::PortName),
    odd(&name::OUTBOUND_EXCLUDE, ":1024", Kind::PortRange),
    odd(&name::OUTBOUND_EXCLUDE, "!80", Kind::Wrong),
    odd(&name::OUTBOUND_EXCLUDE, "0x50", Kind::Hexadecimal),
    odd(&name::SERVICE_CIDR, "10.0.0.0", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "10.0.0.0/33", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "10.0.0.0/08", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "010.0.0.0/8", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "10.0/8", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "10.0.0.0/8, 192.168.0.0/16", Kind::Blank),
    odd(&name::SERVICE_CIDR, " *", Kind::Blank),
    odd(&name::SERVICE_CIDR, "*,10.0.0.0/8", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "fe80::%eth0/64", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "::1", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "fd00::/129", Kind::Wrong),
    odd(&name::SERVICE_CIDR, "10.0.0.0/8,,", Kind::Right),
    odd(&name::SERVICE_CIDR, "10.0.0.0/+8", Kind::Wrong),
    odd(&name::SERVICE_CIDR, ",", Kind::Right),
    odd(&name::SERVICE_CIDR, "::ffff:127.0.0.1/128", Kind::Right),
    odd(&name::EXCLUDE_CIDR, "*", Kind::Wrong),
    odd(&name::EXCLUDE_CIDR, "localhost/8", Kind::Wrong),
    odd(&name::EXCLUDE_CIDR, "10.0.0.0/8 ", Kind::Blank),
    odd(&name::EXCLUDE_CIDR, "0.0.0.0/0,::/0", Kind::Right),
    odd(&name::EXCLUDE_CIDR, "10.0.0.0/255.0.0.0", Kind::Wrong),
    odd(&name::EXCLUDE_INTERFACES, "eth+", Kind::InterfaceWildcard),
    odd(&name::EXCLUDE_INTERFACES, "averyverylonginterface", Kind::Wrong),
    odd(&name::EXCLUDE_INTERFACES, "eth0@if2", Kind::InterfaceName),
    odd(&name::EXCLUDE_INTERFACES, "eth0:1", Kind::InterfaceName),
    odd(&name::EXCLUDE_INTERFACES, "eth0, net1", Kind::Blank),
    odd(&name::EXCLUDE_INTERFACES, "a/b", Kind::InterfaceName),
    odd(&name::KUBE_VIRT, "net 1", Kind::Wrong),
    odd(&name::KUBE_VIRT, "!eth0", Kind::InterfaceName),
    odd(&name::KUBE_VIRT, "+", Kind::InterfaceWildcard),
    odd(&name::KUBE_VIRT, ".", Kind::InterfaceName),
    odd(&name::TPROXY_MARK, "0x539", Kind::Hexadecimal),
    odd(&name::TPROXY_MARK, "abc", Kind::Wrong),
    odd(&name::TPROXY_MARK, "4294967296", Kind::Wrong),
    odd(&name::TPROXY_MARK, "", Kind::Wrong),
    odd(&name::TPROXY_MARK, "1337/0xff", Kind::Wrong),
    odd(&name::TPROXY_MARK, "01337", Kind::LeadingZero),
    odd(&name::TPROXY_MARK, "0", Kind::Right),
    odd(&name::TPROXY_TABLE, "main", Kind::Wrong),
    odd(&name::TPROXY_TABLE, "0x85", Kind::Hexadecimal),
    odd(&name::TPROXY_TABLE, "0", Kind::Table),
    odd(&name::TPROXY_TABLE, "4294967295", Kind::Table),
    odd(&name::OWNER_GROUPS, "nobody-here", Kind::Wrong),
    odd(&name::OWNER_GROUPS, "*,java", Kind::Wrong),
    odd(&name::OWNER_GROUPS, "java, ftp", Kind::Blank),
    odd(&name::OWNER_GROUPS, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,\
         33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,64", Kind::Wrong),
    odd(&name::OWNER_GROUPS, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,\
         33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63,", Kind::ManyGroups),
    odd(&name::OWNER_GROUPS, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,\
         33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,", Kind::Right),
    odd(&name::OWNER_GROUPS_EXCLUDE, "java,nobody-here", Kind::Wrong),
    odd(&name::OWNER_GROUPS_EXCLUDE, "100-200", Kind::UidRange),
    odd(&name::LOOPBACK_CIDR, "127.0.0.1", Kind::Wrong),
    odd(&name::LOOPBACK_CIDR, "10.0.0.0/8", Kind::Wrong),
    odd(&name::LOOPBACK_CIDR, "127.0.0.0/7", Kind::Wrong),
    odd(&name::LOOPBACK_CIDR, "::1/128", Kind::Wrong),
    odd(&name::LOOPBACK_CIDR, "", Kind::Wrong),
    odd(&name::IPTABLES_BINARY, "NFT", Kind::Wrong),
    by_flag(&name::REDIRECT_DNS, "yes", Kind::Wrong),
    by_variable(&name::REDIRECT_DNS, "yes", Kind::Variable),
    by_variable(&name::DUAL_STACK, "", Kind::Right),
    by_flag(&name::PROBE_TIMEOUT, "-5s", Kind::NegativeTimeout),
    by_variable(&name::PROBE_PORT, "65536", Kind::Variable),
    by_flag(&name::SKIP_RULE_APPLY, "true", Kind::NothingDone),
    by_variable(&name::CLEANUP_ONLY, "true", Kind::NothingDone),
    words("init", Kind::Positional),
    words("--redirect-dns true", Kind::TwoWords),
    words("--cleanup", Kind::Wrong),
];

impl Odd {
    pub(super) fn said(&self, random: &mut Random, name: &'static Name) -> Said {
        let text = self.text.to_owned();
        match self.by {
            By::Any => Said::in_some_way(random, name, text),
            By::Flag => Said { name, text, way: Way::LongEquals },
            By::Variable => Said { name, text, way: Way::Variable(random.below(name.env.len())) },
        }
    }
}
