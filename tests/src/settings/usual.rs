//! Values people have: valid on every host, and with them settings that both programs take.

use super::name::{self, Name};
use super::said::Said;
use crate::random::Random;

const PORTS: [&str; 16] = [
    "22", "53", "80", "443", "3333", "8080", "8081", "9090", "15001", "15006", "15008", "15020", "15021",
    "15053", "15090", "65535",
];
const IDS: [&str; 8] = ["0", "1", "203", "204", "1000", "1337", "1338", "4294967294"];
const GROUPS: [&str; 7] = ["java", "ftp", "istio-proxy", "0", "1337", "2000", "4294967294"];
const RANGES: [&str; 32] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.96.0.0/16",
    "10.96.7.0/24",
    "10.96.7.7/32",
    "10.96.7.7/16",
    "10.77.0.0/16",
    "10.244.0.0/24",
    "10.244.0.2/32",
    "192.168.77.0/24",
    "172.31.0.0/16",
    "172.31.0.1/32",
    "127.0.0.0/8",
    "127.1.2.3/32",
    "127.0.0.53/32",
    "128.0.0.0/1",
    "1.1.1.1/31",
    "::/0",
    "fd00::/8",
    "fd00:96::/64",
    "fd00:96::7/128",
    "fd00:244::/64",
    "fd00:244::2/128",
    "FD00:77:0::/64",
    "fd00:31::/63",
    "2001:db8::/32",
    "2001:0db8:0001::1/48",
    "::1/128",
    "::6/128",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:10.0.0.0/104",
];
const INTERFACES: [&str; 7] = ["lo", "eth0", "net1", "vnet0", "absent0", "tap0123456789ab", "a.b-c_d"];
const LOOPBACKS: [&str; 5] = ["127.0.0.1/32", "127.0.0.0/8", "127.0.0.2/32", "127.1.2.3/16", "127.0.0.6/31"];

/// What is said of all that can be said; half of it most of the time.
pub(super) fn draw(random: &mut Random) -> Vec<Said> {
    let mut texts: Vec<(&'static Name, String)> = Vec::new();
    let mut say =
        |random: &mut Random, name: &'static Name, often: usize, text: fn(&mut Random) -> String| {
            if random.below(10) < often {
                let text = text(random);
                texts.push((name, text));
            }
        };
    say(random, &name::ENVOY_PORT, 4, |random| one(random, &["15001", "8081", "1"]));
    say(random, &name::CAPTURE_PORT, 4, |random| one(random, &["15006", "3333", "65535"]));
    say(random, &name::TUNNEL_PORT, 3, |random| one(random, &["15008", "8080", "22", "0"]));
    say(random, &name::PROXY_UID, 6, |random| ids(random, &IDS));
    say(random, &name::PROXY_GID, 4, |random| ids(random, &IDS));
    say(random, &name::MODE, 8, |random| one(random, &["REDIRECT", "TPROXY", "TPROXY", ""]));
    say(random, &name::INBOUND_PORTS, 8, |random| all_or(random, &PORTS));
    say(random, &name::INBOUND_EXCLUDE, 6, |random| list(random, &PORTS, 5));
    say(random, &name::SERVICE_CIDR, 8, |random| all_or(random, &RANGES));
    say(random, &name::EXCLUDE_CIDR, 6, |random| list(random, &RANGES, 5));
    say(random, &name::OUTBOUND_PORTS, 4, |random| list(random, &PORTS, 5));
    say(random, &name::OUTBOUND_EXCLUDE, 4, |random| list(random, &PORTS, 5));
    say(random, &name::EXCLUDE_INTERFACES, 3, |random| list(random, &INTERFACES, 3));
    say(random, &name::KUBE_VIRT, 3, |random| list(random, &INTERFACES, 3));
    say(random, &name::TPROXY_MARK, 3, |random| {
        one(random, &["1337", "1", "1338", "2147483648", "4294967295"])
    });
    say(random, &name::TPROXY_TABLE, 2, |random| one(random, &["133", "100", "255", "70000"]));
    say(random, &name::REDIRECT_DNS, 6, truth);
    say(random, &name::CAPTURE_ALL_DNS, 4, truth);
    say(random, &name::DROP_INVALID, 4, truth);
    say(random, &name::DUAL_STACK, 6, truth);
    say(random, &name::RECONCILE, 1, truth);
    say(random, &name::FORCE_APPLY, 1, truth);
    say(random, &name::IPTABLES_BINARY, 1, |random| one(random, &["nft", ""]));
    say(random, &name::PROBE_PORT, 1, |random| one(random, &["15002", "1"]));
    say(random, &name::PROBE_TIMEOUT, 1, |random| one(random, &["5s", "1m30s", "1.5h", "0"]));
    say(random, &name::OWNER_GROUPS, 3, |random| all_or(random, &GROUPS));
    say(random, &name::OWNER_GROUPS_EXCLUDE, 3, |random| list(random, &GROUPS, 4));
    say(random, &name::LOOPBACK_CIDR, 3, |random| one(random, &LOOPBACKS));
    say(random, &name::ENVOY_USER, 1, |random| one(random, &["java", "istio-proxy", "nobody-here", ""]));
    say(random, &name::ENVOY_PORT_VARIABLE, 1, |random| one(random, &["1234", "no port"]));
    say(random, &name::INBOUND_EXCLUDE_VARIABLE, 1, |random| one(random, &["8080", "no port"]));
    // In any order: the last of two that say the same counts, and clap and pflag have to agree on it.
    for i in (1..texts.len()).rev() {
        texts.swap(i, random.below(i + 1));
    }
    if random.one_in(8) && !texts.is_empty() {
        let again = random.pick(&texts).0;
        let as_before = texts.iter().rev().find(|(name, _)| *name == again).cloned();
        texts.extend(as_before);
    }
    texts.into_iter().map(|(name, text)| Said::in_some_way(random, name, text)).collect()
}

fn one(random: &mut Random, of: &[&str]) -> String {
    (*random.pick(of)).to_owned()
}

fn truth(random: &mut Random) -> String {
    one(random, &["true", "true", "true", "1", "T", "TRUE", "t", "True", "false", "0", "F"])
}

/// Nobody's list is empty: see the table of what is decided differently.
fn ids(random: &mut Random, of: &[&str]) -> String {
    if random.one_in(2) {
        return "1337".to_owned();
    }
    let first = one(random, of);
    let more = random.some(of, 2).into_iter().map(str::to_owned);
    join(random, std::iter::once(first).chain(more).collect())
}

/// Often everything, sometimes nothing.
fn all_or(random: &mut Random, of: &[&str]) -> String {
    if random.one_in(2) { "*".to_owned() } else { list(random, of, 5) }
}

fn list(random: &mut Random, of: &[&str], most: usize) -> String {
    let items = random.some(of, most).into_iter().map(str::to_owned).collect();
    join(random, items)
}

/// Empty items are dropped, whoever reads them.
fn join(random: &mut Random, items: Vec<String>) -> String {
    let mut text = items.join(",");
    if random.one_in(10) {
        text.push(',');
    }
    if random.one_in(20) {
        text.insert(0, ',');
    }
    text
}
