//! The host settings are read on: its addresses, accounts and resolver. All of it in a network namespace and a
//! directory that stands for /etc.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::pod::Pod;
use crate::process::READY_WITHIN;
use crate::random::Random;

/// Groups and users that have a name, and nobody else has one.
pub const GROUPS: [(&str, u32); 3] = [("java", 203), ("ftp", 204), ("istio-proxy", 1337)];
pub const USERS: [(&str, u32); 2] = [("istio-proxy", 1337), ("java", 203)];

/// Which families a host has addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    V4,
    V6,
    Both,
    /// The only IPv4 address is a link-local one, which does not count.
    LinkLocal4,
    /// No address but loopback's.
    None,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub families: Families,
    pub resolv_conf: String,
}

/// Interfaces with an address of each family, and what is routed over them besides.
pub const INTERFACES: [(&str, [&str; 2], [&str; 2]); 3] = [
    ("eth0", ["10.244.0.2/24", "fd00:244::2/64"], ["0.0.0.0/0", "::/0"]),
    ("net1", ["192.168.77.2/24", "fd00:77::2/64"], ["10.77.0.0/16", "fd00:78::/64"]),
    ("vnet0", ["172.31.0.1/24", "fd00:31::1/64"], ["10.78.0.0/16", "fd00:32::/64"]),
];

const RESOLV_CONFS: [&str; 11] = [
    "nameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n",
    "nameserver 127.0.0.53\noptions edns0\n",
    "# two of each\nnameserver 10.96.0.10\nnameserver fd00:96::10\n;nameserver 1.1.1.1\nnameserver 10.244.0.1\nnameserver ::1\n",
    "nameserver fd00:96::10\n",
    "nameserver ::127.0.0.53\nnameserver ::ffff:9.9.9.9\n",
    "nameserver 10.96.0.10 # with words behind\n\tnameserver\t127.0.0.1\nnameserver\n",
    "nameserver localhost\nnameservers 1.1.1.1\n",
    "nameserver 10.96.0.10\nnameserver 10.96.0.10\n",
    "nameserver fe80::53%eth0\nnameserver 10.96.0.10\n",
    "nameserver fe80::53%absent0\nnameserver 10.96.0.10\n",
    "",
];

impl Families {
    pub fn has_v4(self) -> bool {
        matches!(self, Self::V4 | Self::Both)
    }

    pub fn has_v6(self) -> bool {
        matches!(self, Self::V6 | Self::Both | Self::LinkLocal4)
    }
}

impl Host {
    pub fn draw(random: &mut Random) -> Self {
        use Families::{Both, LinkLocal4, V4, V6};
        let families = *random.pick(&[V4, V4, V4, Both, Both, Both, V6, V6, LinkLocal4]);
        let resolv_conf = (*random.pick(&RESOLV_CONFS)).to_owned();
        let families = if random.one_in(60) { Families::None } else { families };
        Self { families, resolv_conf }
    }

    /// A namespace with these addresses and a directory `etc` in its scratch.
    pub fn build(&self, name: &str) -> Result<Pod> {
        let pod = Pod::new(name)?;
        pod.ip(&self.ip_lines())?;
        self.settle(&pod)?;
        self.write_etc(&pod.scratch().join("etc"))?;
        Ok(pod)
    }

    /// Waits for the routes of IPv6 addresses, which the kernel makes in a work queue (net/ipv6/addrconf.c:
    /// addrconf_dad_work).
    fn settle(&self, pod: &Pod) -> Result<()> {
        let addresses = INTERFACES.iter().filter(|_| self.families.has_v6()).map(|(_, [_, v6], _)| {
            let address = v6.split('/').next().and_then(|address| address.parse::<Ipv6Addr>().ok());
            format!("{:032x} 80 ", address.unwrap_or(Ipv6Addr::UNSPECIFIED).to_bits())
        });
        let wanted: Vec<String> = addresses.collect();
        let path = format!("/proc/{}/net/ipv6_route", pod.pid());
        let started = Instant::now();
        loop {
            let routes = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
            if wanted.iter().all(|route| routes.lines().any(|line| line.starts_with(route))) {
                return Ok(());
            }
            ensure!(started.elapsed() < READY_WITHIN, "no route to an address of its own:\n{routes}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn ip_lines(&self) -> String {
        let mut lines = String::new();
        for (name, [v4, v6], [to4, to6]) in INTERFACES {
            // Both ends are here: a link that is up is all that is needed.
            lines += &format!("link add {name} type veth peer name far-{name}\n");
            lines += &format!("link set {name} up\nlink set far-{name} up\n");
            if self.families.has_v4() {
                lines += &format!("addr add {v4} dev {name}\nroute add {to4} dev {name}\n");
            }
            if self.families.has_v6() {
                lines += &format!("addr add {v6} dev {name} nodad\nroute add {to6} dev {name}\n");
            }
        }
        if self.families == Families::LinkLocal4 {
            lines += "addr add 169.254.7.2/16 dev eth0\n";
        }
        lines
    }

    fn write_etc(&self, etc: &Path) -> Result<()> {
        let groups = GROUPS.map(|(name, gid)| format!("{name}:x:{gid}:\n")).concat();
        let users = USERS.map(|(name, uid)| format!("{name}:x:{uid}:{uid}::/:/bin/false\n")).concat();
        let files = [
            ("resolv.conf", self.resolv_conf.as_str()),
            ("group", &groups),
            ("passwd", &users),
            ("services", "http 80/tcp\nssh 22/tcp\n"),
        ];
        std::fs::create_dir(etc).with_context(|| format!("make {}", etc.display()))?;
        for (name, text) in files {
            let path = etc.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// As lines to make one like it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.ip_lines().lines() {
            writeln!(f, "ip {line}")?;
        }
        write!(f, "resolv.conf {:?}", self.resolv_conf)
    }
}
