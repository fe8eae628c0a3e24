//! The texts of containerd are its answers, with other ids, and without capabilities, mounts and resources. Those of CRI-O and
//! of the systemd driver are written after real ones.

use proptest::prelude::*;
use proxy_core::config::PodName;
use rstest::rstest;

use super::*;
use crate::cri::{
    strange,
    v1::{IdMapping, LinuxPodSandboxStatus, Namespace, PodSandboxMetadata, PodSandboxStatus, UserNamespace},
};

const UID: &str = "0f1e2d3c-aaaa-4bbb-8ccc-000000000001";
const CONTAINERD_16: &str = include_str!("../recorded/containerd-1.6-sandbox.json");
const CONTAINERD_17: &str = include_str!("../recorded/containerd-1.7-sandbox.json");
const CONTAINERD_21: &str = include_str!("../recorded/containerd-2.1-sandbox.json");
const SYSTEMD: &str = include_str!("../recorded/containerd-1.7-systemd-sandbox.json");
const HOST: &str = include_str!("../recorded/containerd-1.7-host-network-sandbox.json");
const NO_PARENT: &str = include_str!("../recorded/containerd-1.7-no-parent-sandbox.json");
const USERS: &str = include_str!("../recorded/containerd-2.1-user-namespace-sandbox.json");
const CRIO: &str = include_str!("../recorded/crio-1.37-sandbox.json");
const CRIO_SYSTEMD: &str = include_str!("../recorded/crio-1.37-systemd-sandbox.json");

const RECORDED: [&str; 7] = [CONTAINERD_16, CONTAINERD_17, CONTAINERD_21, SYSTEMD, USERS, CRIO, CRIO_SYSTEMD];

const OF_CONTAINERD: &str = "/var/run/netns/cni-6951e605-2f1c-4d0a-9e63-5a8d5b7f0c11";
const OF_CRIO: &str = "/var/run/netns/30d59cb8-58a0-4b1f-8c44-2c8d2f0a7f1e";
const DIRECTORY: &str = "/kubepods/burstable/pod0f1e2d3c-aaaa-4bbb-8ccc-000000000001";
const SLICE: &str = "/kubepods.slice/kubepods-burstable.slice/\
                     kubepods-burstable-pod0f1e2d3c_aaaa_4bbb_8ccc_000000000001.slice";

fn row() -> PodSandbox {
    PodSandbox {
        id: "1becf12f".to_owned(),
        metadata: Some(PodSandboxMetadata {
            name: "web-0".to_owned(),
            uid: UID.to_owned(),
            namespace: "shop".to_owned(),
            attempt: 0,
        }),
        state: PodSandboxState::SandboxReady as i32,
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        annotations: BTreeMap::from([("sidecar.istio.io/status".to_owned(), "{}".to_owned())]),
    }
}

fn answer(text: &str, options: Option<NamespaceOption>) -> PodSandboxStatusResponse {
    let linux = options
        .map(|options| LinuxPodSandboxStatus { namespaces: Some(Namespace { options: Some(options) }) });
    PodSandboxStatusResponse {
        status: Some(PodSandboxStatus { linux, ..PodSandboxStatus::default() }),
        info: BTreeMap::from([("info".to_owned(), text.to_owned())]),
    }
}

fn pod_network(network: NamespaceMode) -> Option<NamespaceOption> {
    Some(NamespaceOption { network: network as i32, userns_options: None })
}

fn sandbox(text: &str, options: Option<NamespaceOption>) -> Result<Sandbox, String> {
    read(&SandboxId("1becf12f".to_owned()), &row(), &answer(text, options))
}

/// `change` of a recorded text.
fn changed(text: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value = serde_json::from_str(text).unwrap();
    change(&mut value);
    value.to_string()
}

#[rstest]
#[case::containerd_16(CONTAINERD_16, OF_CONTAINERD, DIRECTORY)]
#[case::containerd_17(CONTAINERD_17, OF_CONTAINERD, DIRECTORY)]
#[case::containerd_21(CONTAINERD_21, OF_CONTAINERD, DIRECTORY)]
#[case::systemd(SYSTEMD, OF_CONTAINERD, SLICE)]
#[case::user_namespace(USERS, OF_CONTAINERD, DIRECTORY)]
#[case::crio(CRIO, OF_CRIO, DIRECTORY)]
#[case::crio_systemd(CRIO_SYSTEMD, OF_CRIO, SLICE)]
fn network_and_cgroup(#[case] text: &str, #[case] network: &str, #[case] cgroup: &str) {
    let found = sandbox(text, pod_network(NamespaceMode::Pod)).unwrap();
    assert_eq!(found.state, State::Ready);
    assert_eq!(
        found.pod,
        Pod {
            sandbox: SandboxId("1becf12f".to_owned()),
            name: PodName { namespace: "shop".to_owned(), name: "web-0".to_owned() },
            uid: UID.to_owned(),
            annotations: row().annotations,
            labels: Some(row().labels),
            network: Network::Own(network.into()),
            cgroup: Some(cgroup.to_owned()),
            dns_servers: None,
            proxy: None,
        }
    );
}

#[rstest]
#[case::from_the_path(CONTAINERD_16, "/config/linux/cgroup_parent", DIRECTORY)]
#[case::from_systemds_path(SYSTEMD, "/config/linux/cgroup_parent", SLICE)]
#[case::crios_path(CRIO, "/runtimeSpec/annotations/io.kubernetes.cri-o.CgroupParent", DIRECTORY)]
fn the_cgroup_above_the_sandboxs(#[case] text: &str, #[case] absent: &str, #[case] cgroup: &str) {
    let text = changed(text, |value| *value.pointer_mut(absent).unwrap() = serde_json::Value::Null);
    assert_eq!(sandbox(&text, None).unwrap().pod.cgroup.as_deref(), Some(cgroup));
}

#[test]
fn a_directory_of_all_pods_is_no_pods() {
    assert_eq!(sandbox(NO_PARENT, None).unwrap().pod.cgroup, None);
}

#[test]
fn without_a_path_it_is_the_nodes_network() {
    assert_eq!(sandbox(HOST, pod_network(NamespaceMode::Node)).unwrap().pod.network, Network::Host);
    assert_eq!(sandbox(HOST, None).unwrap().pod.network, Network::Host);
    let unclear = sandbox(HOST, pod_network(NamespaceMode::Pod)).unwrap_err();
    assert!(unclear.contains("does not say where"), "{unclear}");
}

/// The node's network is asked for by the pod: a path beside it changes nothing.
#[test]
fn the_nodes_network_stays_the_nodes() {
    assert_eq!(sandbox(CRIO, pod_network(NamespaceMode::Node)).unwrap().pod.network, Network::Host);
}

#[test]
fn users_of_a_user_namespace() {
    let of_spec = sandbox(USERS, None).unwrap().users.unwrap();
    assert_eq!(of_spec.host_id(1337), Some(1_001_337));
    let mapping = IdMapping { host_id: 2_000_000, container_id: 0, length: 65536 };
    let own = UserNamespace { mode: NamespaceMode::Pod as i32, uids: vec![mapping], gids: vec![mapping] };
    let options = NamespaceOption { network: 0, userns_options: Some(own) };
    assert_eq!(sandbox(CRIO, Some(options)).unwrap().users.unwrap().host_id(1337), Some(2_001_337));
    let of_node = UserNamespace { mode: NamespaceMode::Node as i32, ..UserNamespace::default() };
    let options = NamespaceOption { network: 0, userns_options: Some(of_node) };
    assert_eq!(sandbox(CRIO, Some(options)).unwrap().users, None);
}

#[rstest]
#[case::no_json("{", "verbose status")]
#[case::another_type("\"x\"", "verbose status")]
#[case::a_number_for_a_path(r#"{"runtimeSpec":{"linux":{"cgroupsPath":1}}}"#, "verbose status")]
#[case::nothing("{}", "lists no namespaces")]
#[case::nulls(r#"{"runtimeSpec":{"linux":{"namespaces":null}},"config":null}"#, "lists no namespaces")]
fn what_cannot_be_read_is_unclear(#[case] text: &str, #[case] reason: &str) {
    let unclear = sandbox(text, pod_network(NamespaceMode::Pod)).unwrap_err();
    assert!(unclear.contains(reason), "{unclear}");
}

#[test]
fn too_long_a_text_is_not_read() {
    let text = format!("{{\"image\":\"{}\"}}", "x".repeat(LONGEST));
    assert!(sandbox(&text, None).unwrap_err().contains("more than 1048576"));
}

#[rstest]
#[case::a_line_break("shop", "web\n0", UID)]
#[case::traversal("..", "web-0", UID)]
#[case::a_uid_that_is_a_path("shop", "web-0", "../../x")]
fn names_that_are_none(#[case] namespace: &str, #[case] name: &str, #[case] uid: &str) {
    let mut row = row();
    row.metadata = Some(PodSandboxMetadata {
        name: name.into(),
        uid: uid.into(),
        namespace: namespace.into(),
        attempt: 0,
    });
    assert!(read(&SandboxId("a".to_owned()), &row, &answer(CRIO, None)).unwrap_err().contains("Kubernetes'"));
    assert!(!label(&row).contains('\n'));
}

#[rstest]
#[case::real("1becf12f8e6d4c0b9a1f2e3d4c5b6a79881becf12f8e6d4c0b9a1f2e3d4c5b6a", true)]
#[case::nothing("", false)]
#[case::traversal("../x", false)]
#[case::hidden(".x", false)]
#[case::a_line_break("a\nb", false)]
#[case::too_long(&"a".repeat(LONGEST_ID + 1), false)]
fn ids(#[case] text: &str, #[case] expected: bool) {
    assert_eq!(id(&PodSandbox { id: text.to_owned(), ..row() }).is_some(), expected);
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in strange::text(&RECORDED), uid in ".{0,40}", mode in any::<i32>()) {
        let mut row = row();
        row.metadata.as_mut().unwrap().uid = uid;
        let options = NamespaceOption { network: mode, userns_options: None };
        let found = read(&SandboxId("a".to_owned()), &row, &answer(&text, Some(options)));
        if let Ok(Sandbox { pod: Pod { network: Network::Own(path), .. }, .. }) = found {
            prop_assert!(!path.as_os_str().is_empty());
        }
    }
}
