//! Under which names the server answers.
//!
//! A page of somebody else's can have its own name resolve to 127.0.0.1, and a browser then lets it read what this server
//! says (DNS rebinding). It cannot make the browser say another name than its own.

use std::net::IpAddr;

/// Names besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn and(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// `host`: as a request says it, perhaps with a port. None is what only other programs than browsers send.
    pub(super) fn allow(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return true };
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == "localhost" || self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_called_by_another_name_does_not_answer() {
        let hosts = Hosts::and(&["Node-1.example.com".to_owned()]);
        for host in ["127.0.0.1:15095", "10.0.0.7", "[::1]:15095", "[fd00::1]", "LocalHost:80", "localhost."]
        {
            assert!(hosts.allow(Some(host)), "{host}");
        }
        assert!(hosts.allow(Some("node-1.EXAMPLE.com:15095")) && hosts.allow(None));
        for host in [
            "evil.example",
            "evil.example:15095",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[",
        ] {
            assert!(!hosts.allow(Some(host)), "{host}");
        }
    }
}
