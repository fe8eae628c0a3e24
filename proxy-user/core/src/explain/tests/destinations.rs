//! What no packet carries as its destination.

use super::{ask, pod};
use crate::{config::Environment, explain::Outcome};

const DEFAULT: [&str; 6] = ["-u", "1337", "-b", "*", "-i", "*"];

#[test]
fn no_address_is_this_host() {
    let dns = [&DEFAULT[..], &["--redirect-dns", "--capture-all-dns", "--dual-stack"]].concat();
    for (flags, from, to, meant, row) in [
        (&DEFAULT[..], "1000:1000", "0.0.0.0:8080", "127.0.0.1:8080", "O4"),
        (&DEFAULT, "1000:1000", "[::ffff:0.0.0.0]:8080", "127.0.0.1:8080", "O4"),
        (&DEFAULT, "1000:1000@10.0.0.2", "0.0.0.0:8080", "10.0.0.2:8080", "O4"),
        (&DEFAULT, "1337:1337@10.0.0.2", "0.0.0.0:8080", "10.0.0.2:8080", "O3"),
        (&DEFAULT, "1337:1337", "0.0.0.0:8080", "127.0.0.1:8080", "O5"),
        (&DEFAULT, "1000:1000", "[::]:8080", "[::1]:8080", "none"),
        (&dns, "1000:1000", "[::]:8080", "[::1]:8080", "O4"),
        (&dns, "1000:1000", "udp:0.0.0.0:53", "127.0.0.1:53", "O11"),
        (&dns, "1000:1000", "udp:[::]:53", "[::1]:53", "O11"),
    ] {
        // The pod has an IPv6 address; IPv6 rules come with --dual-stack.
        let answer = ask(&pod(flags, &["10.0.0.2", "fd00::2"], Environment::default()), from, to);
        let text = answer.to_string();
        assert_eq!(answer.row, Some(row), "{text}");
        assert!(text.contains(&format!(" -> {meant}, over lo")), "{text}");
        assert!(text.contains("the kernel connects to"), "{text}");
    }
}

#[test]
fn what_has_no_connection_is_refused() {
    let pod = pod(&DEFAULT, &["10.0.0.2"], Environment::default());
    for (from, to, says) in [
        ("1000:1000", "224.0.0.1:80", "many hosts"),
        ("1000:1000", "255.255.255.255:80", "many hosts"),
        ("1000:1000", "[ff02::1]:80", "many hosts"),
        ("@10.0.0.9", "0.0.0.0:80", "nothing arrives"),
        ("@10.0.0.9", "[::]:80", "nothing arrives"),
    ] {
        // A source of the destination's family.
        let from = if to.starts_with('[') { from.replace("10.0.0.9", "fd00::9") } else { from.to_owned() };
        let answer = ask(&pod, &from, to);
        assert!(matches!(&answer.verdict, Outcome::Refused { reason } if reason.contains(says)), "{answer}");
    }
}
