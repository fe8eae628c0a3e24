use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::cri::{
    strange,
    v1::{ContainerMetadata, ContainerStatus, ContainerUser, LinuxContainerUser},
};

const CONTAINERD_16: &str = include_str!("../recorded/containerd-1.6-container.json");
const CONTAINERD_21: &str = include_str!("../recorded/containerd-2.1-container.json");
const CRIO: &str = include_str!("../recorded/crio-1.37-container.json");

fn answer(text: &str, user: Option<(i64, i64)>) -> ContainerStatusResponse {
    let user = user.map(|(uid, gid)| ContainerUser { linux: Some(LinuxContainerUser { uid, gid }) });
    ContainerStatusResponse {
        status: Some(ContainerStatus { id: "c".to_owned(), user }),
        info: BTreeMap::from([("info".to_owned(), text.to_owned())]),
    }
}

#[rstest]
#[case::from_the_spec(CONTAINERD_16, None, (1337, 1337))]
#[case::from_the_status(CONTAINERD_21, Some((1338, 1339)), (1338, 1339))]
#[case::a_status_that_is_no_user(CRIO, Some((-1, 1 << 40)), (1337, 1337))]
fn who_it_runs_as(#[case] text: &str, #[case] status: Option<(i64, i64)>, #[case] expected: (u32, u32)) {
    let proxy = read(&answer(text, status)).unwrap();
    assert_eq!((proxy.uid, proxy.gid), (Some(expected.0), Some(expected.1)));
    assert_eq!(proxy.env["ISTIO_META_DNS_CAPTURE"], "true");
}

#[test]
fn what_it_runs() {
    let proxy = read(&answer(CONTAINERD_16, None)).unwrap();
    assert_eq!(proxy.args, ["/bin/sleep", "1000"]);
    let proxy = read(&answer(CRIO, None)).unwrap();
    assert_eq!(proxy.args[..3], ["/usr/local/bin/pilot-agent", "proxy", "sidecar"]);
    assert_eq!(proxy.env["PROXY_CONFIG"], "{\"a\":\"b=c\"}");
    assert_eq!(proxy.env["EMPTY"], "");
}

#[test]
fn what_it_runs_has_to_be_said() {
    assert!(read(&answer("{\"pid\":1}", Some((1337, 1337)))).unwrap_err().contains("what it runs"));
    assert!(read(&ContainerStatusResponse::default()).unwrap_err().contains("no verbose status"));
}

#[test]
fn the_latest_of_the_sandbox() {
    let container = |id: &str, sandbox: &str, name: &str, attempt| Container {
        id: id.to_owned(),
        pod_sandbox_id: sandbox.to_owned(),
        metadata: Some(ContainerMetadata { name: name.to_owned(), attempt }),
    };
    let containers = [
        container("1", "s", "app", 9),
        container("2", "s", "istio-proxy", 1),
        container("3", "s", "istio-proxy", 2),
        container("4", "other", "istio-proxy", 3),
        container("5", "s", "istio-proxy", 0),
        Container { id: "6".to_owned(), pod_sandbox_id: "s".to_owned(), metadata: None },
    ];
    assert_eq!(among(&containers, "s").map(|it| it.id.as_str()), Some("3"));
    assert_eq!(among(&containers[..1], "s"), None);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in strange::text(&[CONTAINERD_16, CONTAINERD_21, CRIO]), uid: i64, gid: i64) {
        if let Ok(proxy) = read(&answer(&text, Some((uid, gid)))) {
            prop_assert!(proxy.env.len() < 10 && proxy.args.len() < 10);
        }
    }
}
