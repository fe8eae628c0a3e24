//! Answers in words both ways have in common: addresses become names.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Cluster;
use super::way::Way;

/// Whose address is which, in the namespace of one way and those that all share.
#[derive(Debug, Default)]
pub struct Words {
    names: BTreeMap<String, String>,
}

impl Words {
    pub fn read(cluster: &Cluster, way: Way) -> Result<Self> {
        let mut words = Self::default();
        words.add(&cluster.outside.address, "the outside");
        words.add(cluster.outside.address6.as_deref().unwrap_or_default(), "the outside");
        let all = cluster.json(&["get", "pods,services,nodes", "-A"])?;
        for item in all["items"].as_array().context("no items")? {
            let namespace = item["metadata"]["namespace"].as_str().unwrap_or_default();
            let shared = !Way::ALL.iter().any(|way| way.namespace() == namespace);
            if !shared && namespace != way.namespace() {
                continue;
            }
            let name = item["metadata"]["name"].as_str().unwrap_or_default();
            words.item(item, name);
        }
        Ok(words)
    }

    fn item(&mut self, item: &Value, name: &str) {
        match item["kind"].as_str() {
            Some("Pod") if item["spec"]["hostNetwork"] != true => {
                for address in item["status"]["podIPs"].as_array().into_iter().flatten() {
                    self.add(address["ip"].as_str().unwrap_or_default(), &format!("pod {name}"));
                }
            }
            Some("Service") => {
                for address in item["spec"]["clusterIPs"].as_array().into_iter().flatten() {
                    self.add(address.as_str().unwrap_or_default(), &format!("service {name}"));
                }
            }
            Some("Node") => {
                for address in item["status"]["addresses"].as_array().into_iter().flatten() {
                    self.add(address["address"].as_str().unwrap_or_default(), "the node");
                }
                for range in item["spec"]["podCIDRs"].as_array().into_iter().flatten() {
                    // The bridge has the first address of the node's range.
                    let network =
                        range.as_str().and_then(|range| range.split('/').next()).unwrap_or_default();
                    if let Some(start) = network.strip_suffix(".0") {
                        self.add(&format!("{start}.1"), "the node");
                    }
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, address: &str, name: &str) {
        if address.contains(':') {
            self.names.insert(address.to_owned(), format!("({name} IPv6)"));
        } else if address.contains('.') {
            self.names.insert(address.to_owned(), format!("({name})"));
        }
    }

    /// The address something goes by, e.g. `pod server` or `pod server IPv6`.
    pub fn address(&self, name: &str) -> Option<&str> {
        let wanted = format!("({name})");
        self.names.iter().find(|(_, known)| **known == wanted).map(|(address, _)| address.as_str())
    }

    /// `{pod server}` in a question becomes its address.
    pub fn fill(&self, question: &str) -> Result<String> {
        let Some((before, rest)) = question.split_once('{') else { return Ok(question.to_owned()) };
        let (name, after) = rest.split_once('}').with_context(|| format!("{question}: no }}"))?;
        let address = self.address(name).with_context(|| format!("{name} has no address"))?;
        self.fill(&format!("{before}{address}{after}"))
    }

    /// An answer with names in place of addresses, and no name of a way.
    pub fn plain(&self, answer: &str) -> String {
        let mut out = String::new();
        let mut rest = answer;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !in_address(c)).unwrap_or(rest.len());
            if end == 0 {
                let next = rest.chars().next().map_or(1, char::len_utf8);
                out.push_str(&rest[..next]);
                rest = &rest[next..];
                continue;
            }
            out.push_str(&self.token(&rest[..end]));
            rest = &rest[end..];
        }
        Way::ALL.iter().fold(out, |text, way| text.replace(way.namespace(), "NS"))
    }

    /// An address, or one of IPv4 and a port; anything else stays as it is. IPv6 has brackets where a port follows.
    fn token(&self, token: &str) -> String {
        let (address, port) = match token.split_once(':') {
            _ if self.names.contains_key(token) => (token, ""),
            Some((address, _)) => token.split_at(address.len()),
            None => (token, ""),
        };
        format!("{}{port}", self.names.get(address).map_or(address, String::as_str))
    }
}

fn in_address(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':')
}

#[cfg(test)]
mod tests {
    use super::Words;

    #[test]
    fn addresses_become_names() {
        let mut words = Words::default();
        words.add("10.244.0.7", "pod server");
        words.add("10.244.0.71", "pod other");
        assert_eq!(words.plain("at 10.244.0.7:80, peer 10.244.0.71"), "at (pod server):80, peer (pod other)");
        words.add("fd00:244:1::7", "pod server");
        assert_eq!(
            words.plain("at [fd00:244:1::7]:80, peer fd00:244:1::7, ::6"),
            "at [(pod server IPv6)]:80, peer (pod server IPv6), ::6"
        );
        assert_eq!(words.fill("tcp://[{pod server IPv6}]:80").unwrap(), "tcp://[fd00:244:1::7]:80");
        assert_eq!(words.plain("ns/by-sidestep/sa/client"), "ns/NS/sa/client");
        assert_eq!(words.fill("http://{pod server}:80/").unwrap(), "http://10.244.0.7:80/");
    }
}
