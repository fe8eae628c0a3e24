//! `hostUsers: false`: inside, the sidecar has the uid that it always has, and on the node another.

use tests::report::Outcome;
use tests::requirement::{Requirement, met};

use crate::messages::{IdMapping, UserNamespace};
use crate::node::{Node, OF_THE_WORLD, WORLD, can_be_had};
use crate::pod::{Pod, SIDECAR, Spec};

#[test]
fn the_sidecar_of_a_pod_with_users_of_its_own_is_not_captured() {
    if !can_be_had() || !met(&[Requirement::Containerd(2, "it has no user namespaces for pods")]) {
        return;
    }
    let node = Node::start(&[]).unwrap();
    let ids = vec![IdMapping { host_id: 1_000_000, container_id: 0, length: 65_536 }];
    let mut spec = Spec::meshed("web");
    spec.options.userns_options = Some(UserNamespace { mode: 0, uids: ids.clone(), gids: ids });
    let pod = Pod::run(&node, spec).unwrap();
    assert_eq!(pod.connect().unwrap().outcome(), Outcome::Refused);
    let own = pod.output("istio-proxy", SIDECAR, &["connect", "--to", WORLD]).unwrap();
    assert!(own.contains(OF_THE_WORLD), "{own}");
}
