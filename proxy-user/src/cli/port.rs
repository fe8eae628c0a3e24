//! A port as people say it: a number, or a service's name.

use std::fs;

const SERVICES: &str = "/etc/services";

/// For clap.
pub(super) fn parse(text: &str) -> Result<u16, String> {
    if let Ok(port) = text.parse() {
        return Ok(port);
    }
    let not_found = || format!("neither a number between 0 and 65535 nor a TCP service of {SERVICES}");
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(not_found());
    }
    // Where there is no such file there are no names.
    let services = fs::read_to_string(SERVICES).unwrap_or_default();
    port_of(text, &services).ok_or_else(not_found)
}

/// services(5): name, port/protocol, other names.
fn port_of(name: &str, services: &str) -> Option<u16> {
    services.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (official, port) = (words.next()?, words.next()?.strip_suffix("/tcp")?);
        (official == name || words.any(|other| other == name)).then(|| port.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names() {
        let text =
            "# services\ndomain\t53/udp\ndomain\t53/tcp\nhttp 80/tcp www # WorldWideWeb\ntftp 69/udp\n";
        assert_eq!(port_of("http", text), Some(80));
        assert_eq!(port_of("www", text), Some(80));
        assert_eq!(port_of("domain", text), Some(53));
        assert_eq!(port_of("tftp", text), None, "flows are of TCP");
        assert_eq!(port_of("WorldWideWeb", text), None);
        assert_eq!(parse("8080"), Ok(8080));
        for wrong in ["65536", "no-such-service", "", "-1"] {
            assert!(parse(wrong).unwrap_err().contains("/etc/services"), "{wrong}");
        }
    }
}
