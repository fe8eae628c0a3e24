//! Which groups' outgoing traffic is captured (ISTIO_OUTBOUND_OWNER_GROUPS and its _EXCLUDE).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    accounts::{Host, Lookup},
    fault::ConfigFaults,
    go_value::items,
    setting::{OWNER_GROUPS, OWNER_GROUPS_EXCLUDE, Setting},
};

/// Istio's limit, there because all groups become matches of one iptables rule.
const MOST_INCLUDED: usize = 64;

/// A group, and the name it was given by (iptables rules keep the name).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerGroup {
    pub gid: u32,
    pub name: Option<String>,
}

/// Whose outgoing traffic is captured, by the socket's group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerGroups {
    /// `"*"`, the default.
    #[default]
    Everyone,
    /// Only these groups. Empty (a variable that is set, but to nothing) means nobody: an unconditional RETURN.
    Only(Vec<OwnerGroup>),
    /// Everyone but these groups; not empty.
    Except(Vec<OwnerGroup>),
}

impl OwnerGroups {
    /// The groups named, in order, whichever way they count.
    pub fn gids(&self) -> Vec<u32> {
        match self {
            OwnerGroups::Everyone => Vec::new(),
            OwnerGroups::Only(groups) | OwnerGroups::Except(groups) => {
                groups.iter().map(|group| group.gid).collect()
            }
        }
    }

    /// Excludes count only when the include list is exactly `*` (istio: ParseInterceptFilter).
    pub(super) fn parse(
        include: &str,
        exclude: &str,
        host: &dyn Host,
        faults: &mut ConfigFaults,
        of_excluded: &mut ConfigFaults,
    ) -> Self {
        // Parsed even when it does not count, so that a typo there is reported.
        let excluded = parse_groups(&OWNER_GROUPS_EXCLUDE, exclude, host, of_excluded);
        if include.trim() == "*" {
            return if excluded.is_empty() { OwnerGroups::Everyone } else { OwnerGroups::Except(excluded) };
        }
        let count = items(include).count();
        if count > MOST_INCLUDED {
            faults.add(OWNER_GROUPS.fault(
                include,
                format!(
                    "number of owner groups whose outgoing traffic should be redirected to Envoy \
                     cannot exceed {MOST_INCLUDED}, got {count}"
                ),
                "name fewer groups, or use \"*\" with ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
            ));
            return OwnerGroups::default();
        }
        OwnerGroups::Only(parse_groups(&OWNER_GROUPS, include, host, faults))
    }
}

impl fmt::Display for OwnerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.gid),
        }
    }
}

fn parse_groups(
    setting: &Setting,
    text: &str,
    host: &dyn Host,
    faults: &mut ConfigFaults,
) -> Vec<OwnerGroup> {
    let mut groups = Vec::new();
    for item in items(text) {
        let mut name = None;
        let by_name = |text: &str| {
            name = Some(text.to_owned());
            host.group_id(text)
        };
        match Lookup::of(item, by_name) {
            Lookup::Found(gid) => groups.push(OwnerGroup { gid, name }),
            Lookup::Unknown(reason) => faults.add_item(
                setting,
                item,
                reason,
                "give the numeric gid, or create the group on this host",
            ),
        }
    }
    groups
}
