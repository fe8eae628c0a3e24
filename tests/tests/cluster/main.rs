//! On the real cluster (`cargo xtask cluster test`): each question is asked under istio-init's iptables and under
//! sidestep, and the answers are the same. docs/cluster-tests.md has the table.

#[macro_use]
mod table;

mod absence;
mod annotations;
mod at_once;
mod daemonset;
mod docs;
mod events;
mod families;
mod figures;
mod istio;
mod lifecycle;
mod nodes;
mod rollout;
mod services;
mod soak;
mod start;
mod unusual;

/// Every case, in the order of the documentation.
const GROUPS: &[(&str, &[tests::cluster::case::Case])] = &[
    ("Start", start::CASES),
    ("Services and addresses", services::CASES),
    ("Both address families", families::CASES),
    ("From node to node", nodes::CASES),
    ("Annotations", annotations::CASES),
    ("Istio's resources", istio::CASES),
    ("Lives of pods", lifecycle::CASES),
    ("Unusual pods", unusual::CASES),
];
