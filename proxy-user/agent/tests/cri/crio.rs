//! CRI-O, by what it was recorded to answer: a sandbox has no process, and its networks are nobody's to know.

use proxy_agent::{
    cri::{Runtime, v1::ContainerMetadata},
    pod::Network,
};

use crate::fake::{Fake, FakeSandbox};

const SANDBOX: &str = include_str!("../../src/cri/recorded/crio-1.37-sandbox.json");
const SYSTEMD: &str = include_str!("../../src/cri/recorded/crio-1.37-systemd-sandbox.json");
const CONTAINER: &str = include_str!("../../src/cri/recorded/crio-1.37-container.json");
const STATUS: &str = include_str!("../../src/cri/recorded/crio-1.37-status.json");
const CRIO: (&str, &str) = ("cri-o", "1.37.0");

/// With the recorded answer about it.
fn recorded(name: &str, info: &str) -> FakeSandbox {
    let mut sandbox = FakeSandbox::new(name, true);
    let status = sandbox.status.as_mut().unwrap();
    status.info.insert("info".to_owned(), info.to_owned());
    sandbox
}

/// `drop_infra_ctr`: there is no pause process to ask for the namespace.
#[tokio::test]
async fn a_sandbox_has_no_process() {
    for (info, cgroup) in [
        (SANDBOX, "/kubepods/burstable/pod0f1e2d3c-aaaa-4bbb-8ccc-000000000001"),
        (SYSTEMD, "kubepods-burstable-pod0f1e2d3c_aaaa_4bbb_8ccc_000000000001.slice"),
    ] {
        assert!(info.contains("\"pid\": 0"), "as recorded");
        let fake = Fake::start(CRIO, vec![recorded("web-0", info)]);
        let found = Runtime::new(Some(fake.socket())).pods().await.unwrap();
        let [sandbox] = &found.sandboxes[..] else { panic!("{found:?}") };
        let path = "/var/run/netns/30d59cb8-58a0-4b1f-8c44-2c8d2f0a7f1e";
        assert_eq!(sandbox.pod.network, Network::Own(path.into()));
        let told = sandbox.pod.cgroup.as_deref().unwrap();
        assert!(told.ends_with(cgroup), "{told}");
    }
}

/// The sidecar's container comes later, and CRI-O tells it as containerd does.
#[tokio::test]
async fn the_sidecar_is_told_once_it_is_there() {
    let fake = Fake::start(CRIO, vec![recorded("web-0", SANDBOX)]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    assert_eq!(runtime.pods().await.unwrap().sandboxes[0].pod.proxy, None);
    {
        let mut state = fake.state();
        let sandbox = &mut state.sandboxes[0];
        sandbox.add_container("istio-proxy", 1337, "A=b");
        let (container, status) = &mut sandbox.containers[0];
        container.metadata = Some(ContainerMetadata { name: "istio-proxy".to_owned(), attempt: 0 });
        status.info.insert("info".to_owned(), CONTAINER.to_owned());
    }
    let proxy = runtime.pods().await.unwrap().sandboxes[0].pod.proxy.clone().unwrap();
    assert_eq!((proxy.uid, proxy.gid), (Some(1337), Some(1337)));
    assert_eq!(proxy.env.get("ISTIO_META_DNS_CAPTURE").map(String::as_str), Some("true"));
}

/// Whether it has loaded a plugin cannot be known, and that is not "no".
#[tokio::test]
async fn it_does_not_say_what_it_has_loaded() {
    let fake = Fake::start(CRIO, vec![]);
    fake.state().status.info.insert("config".to_owned(), STATUS.to_owned());
    let setup = Runtime::new(Some(fake.socket())).networks().await.unwrap();
    assert_eq!((setup.has_loaded("sidestep-cni"), setup.list_dir, setup.plugin_dirs), (None, None, vec![]));
}
