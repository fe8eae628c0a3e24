//! Whether a configuration captures anything.

use super::{CidrSet, Config, OwnerGroups, PortSet};

impl Config {
    /// Some connection that arrives from outside.
    pub fn captures_inbound(&self) -> bool {
        match &self.inbound_include {
            PortSet::None => false,
            PortSet::All => true,
            PortSet::List(ports) => !ports.is_empty(),
        }
    }

    /// Some connection of the application's.
    pub fn captures_outbound(&self) -> bool {
        let some_range = match &self.outbound_include {
            CidrSet::All => true,
            CidrSet::List(ranges) => !ranges.is_empty(),
        };
        let somebody = !matches!(&self.owner_groups, OwnerGroups::Only(groups) if groups.is_empty());
        somebody && (some_range || !self.outbound_ports_include.is_empty())
    }

    /// Only calls of the sidecar to its own pod, which are the sidecar's in any case.
    pub fn captures_nothing(&self) -> bool {
        !self.captures_inbound() && !self.captures_outbound() && self.dns_active().is_none()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use crate::config::{Environment, Given, NoHost};

    #[rstest]
    #[case::no_flag(&[], [false, false, true])]
    #[case::an_owner(&["-u", "1337"], [false, false, true])]
    #[case::exceptions_only(&["-d", "80", "-x", "10.0.0.0/8", "-o", "80"], [false, false, true])]
    #[case::inbound(&["-b", "*"], [true, false, false])]
    #[case::a_port(&["-b", "80"], [true, false, false])]
    #[case::outbound(&["-i", "10.0.0.0/8"], [false, true, false])]
    #[case::outbound_port(&["-q", "80"], [false, true, false])]
    #[case::dns(&["--redirect-dns", "--capture-all-dns"], [false, false, false])]
    fn what_is_captured(#[case] words: &[&str], #[case] expected: [bool; 3]) {
        let given = Given::from_words(words).unwrap();
        let config = given.resolve(&Environment::default(), &NoHost).unwrap().config;
        let found = [config.captures_inbound(), config.captures_outbound(), config.captures_nothing()];
        assert_eq!(found, expected);
    }
}
