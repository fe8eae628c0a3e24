//! Ephemeral ports differ from run to run: each gets a letter, in order of appearance. Equal letters are equal ports,
//! so comparing two runs still compares who saw whose socket.

use std::net::SocketAddr;

/// Ports below this are the experiment's own (ip_local_port_range starts at 32768).
const FIRST_EPHEMERAL: u16 = 32768;

/// Letters given so far.
#[derive(Debug, Default)]
pub(crate) struct Ports(Vec<u16>);

impl Ports {
    /// The address with its ephemeral port lettered; `-` for none.
    pub(crate) fn name(&mut self, address: Option<SocketAddr>) -> String {
        let Some(address) = address else { return "-".to_owned() };
        let (ip, port) = (address.ip(), address.port());
        if port < FIRST_EPHEMERAL {
            return address.to_string();
        }
        let index = self.0.iter().position(|&known| known == port).unwrap_or_else(|| {
            self.0.push(port);
            self.0.len() - 1
        });
        let letter = char::from(b'a' + (index % 26) as u8);
        if ip.is_ipv6() { format!("[{ip}]:{letter}") } else { format!("{ip}:{letter}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_port_has_the_same_letter() {
        let mut ports = Ports::default();
        let mut name = |text: &str| ports.name(text.parse().ok());
        assert_eq!(name("10.0.0.1:40000"), "10.0.0.1:a");
        assert_eq!(name("10.0.0.1:80"), "10.0.0.1:80");
        assert_eq!(name("[::1]:40001"), "[::1]:b");
        assert_eq!(name("127.0.0.1:40000"), "127.0.0.1:a");
    }
}
