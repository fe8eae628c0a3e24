//! Which sandboxes there are, and how often the runtime is asked about them.

use proxy_agent::{
    cri::{Runtime, Snapshot, State},
    pod::{Network, SandboxId},
};
use tonic::Status;

use crate::fake::{Fake, FakeSandbox};
use proxy_agent::cri::v1::PodSandboxState;

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.sandboxes.iter().map(|sandbox| sandbox.pod.name.name.as_str()).collect()
}

#[tokio::test]
async fn each_sandbox_is_asked_about_once() {
    let sandboxes = ["a", "b", "c"].map(|name| FakeSandbox::new(name, false));
    let fake = Fake::start(("containerd", "1.7.24"), sandboxes.into());
    let mut runtime = Runtime::new(Some(fake.socket()));
    let first = runtime.pods().await.unwrap();
    assert_eq!(names(&first), ["a", "b", "c"]);
    assert_eq!(first.sandboxes[1].pod.network, Network::Own("/run/netns/b".into()));
    assert_eq!(first.sandboxes[1].pod.cgroup.as_deref(), Some("/kubepods/poduid-b"));
    for _ in 0..3 {
        assert_eq!(runtime.pods().await.unwrap(), first);
    }
    assert_eq!(fake.calls("PodSandboxStatus"), 3);

    fake.state().sandboxes.push(FakeSandbox::new("d", false));
    fake.state().sandboxes.remove(0);
    assert_eq!(names(&runtime.pods().await.unwrap()), ["b", "c", "d"]);
    assert_eq!(fake.calls("PodSandboxStatus"), 4);

    // What was forgotten is asked about again.
    fake.state().sandboxes.push(FakeSandbox::new("a", false));
    assert_eq!(names(&runtime.pods().await.unwrap()), ["b", "c", "d", "a"]);
    assert_eq!(fake.calls("PodSandboxStatus"), 5);
    assert_eq!((fake.calls("ListPodSandbox"), fake.calls("Version")), (6, 1));
}

#[tokio::test]
async fn the_nodes_network() {
    let sandbox = FakeSandbox::new("a", true).on_the_nodes_network();
    let fake = Fake::start(("containerd", "1.7.24"), vec![sandbox]);
    let found = Runtime::new(Some(fake.socket())).pods().await.unwrap();
    assert_eq!(found.sandboxes[0].pod.network, Network::Host);
    assert_eq!(fake.calls("ListContainers"), 0, "nobody waits for its sidecar");
}

#[tokio::test]
async fn a_sandbox_that_is_not_ready() {
    let mut old = FakeSandbox::new("old", true);
    old.row.state = PodSandboxState::SandboxNotready as i32;
    let fake = Fake::start(("containerd", "1.7.24"), vec![old, FakeSandbox::new("a", true)]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    let found = runtime.pods().await.unwrap();
    assert_eq!(names(&found), ["a"], "one that was never ready is nobody's");
    assert_eq!(found.sandboxes[0].state, State::Ready);
    assert_eq!(fake.calls("PodSandboxStatus"), 1);
    assert_eq!(fake.calls("ListContainers"), 1);

    fake.state().sandboxes[1].row.state = PodSandboxState::SandboxNotready as i32;
    let found = runtime.pods().await.unwrap();
    assert_eq!((names(&found), found.sandboxes[0].state), (vec!["a"], State::NotReady));
    assert_eq!(fake.calls("ListContainers"), 1, "nothing starts in it any more");
}

#[tokio::test]
async fn what_is_unclear_is_asked_about_again_and_is_not_gone() {
    let mut strange = FakeSandbox::new("strange", false);
    let readable = strange.status.clone();
    strange.status = Err(Status::unknown("no task\nfound"));
    let fake = Fake::start(("containerd", "1.7.24"), vec![strange, FakeSandbox::new("a", false)]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    for _ in 0..3 {
        let found = runtime.pods().await.unwrap();
        assert_eq!(names(&found), ["a"]);
        let [unclear] = &found.unclear[..] else { panic!("{found:?}") };
        assert_eq!(unclear.sandbox, Some(SandboxId("id-strange".to_owned())));
        assert_eq!(unclear.name, "shop/strange");
        assert!(unclear.reason.contains("no task\\u{a}found"), "{}", unclear.reason);
    }
    assert_eq!(fake.calls("PodSandboxStatus id-strange"), 1, "not with each look");

    fake.state().sandboxes[0].status = readable;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(names(&runtime.pods().await.unwrap()), ["strange", "a"]);
}

#[tokio::test]
async fn rows_that_are_none() {
    let mut no_id = FakeSandbox::new("no-id", false);
    no_id.row.id = "../x".to_owned();
    let mut no_metadata = FakeSandbox::new("b", false);
    no_metadata.row.metadata = None;
    let rows = vec![no_id, no_metadata, FakeSandbox::new("a", false), FakeSandbox::new("a", false)];
    let fake = Fake::start(("containerd", "1.7.24"), rows);
    let found = Runtime::new(Some(fake.socket())).pods().await.unwrap();
    assert_eq!(names(&found), ["a"], "listed twice, and one sandbox");
    let unclear: Vec<_> =
        found.unclear.iter().map(|it| it.sandbox.as_ref().map(|id| id.0.as_str())).collect();
    assert_eq!(unclear, [None, Some("id-b")]);
}

/// gRPC's own limit is 4 MiB, and a node's list may be longer.
#[tokio::test]
async fn a_long_list() {
    let sandboxes = (0..110).map(|number| {
        let mut sandbox = FakeSandbox::new(&format!("pod-{number}"), false);
        sandbox.row.annotations.insert("a".to_owned(), "x".repeat(100_000));
        sandbox
    });
    let fake = Fake::start(("containerd", "1.7.24"), sandboxes.collect());
    let found = Runtime::new(Some(fake.socket())).pods().await.unwrap();
    assert_eq!(found.sandboxes.len(), 110);
}
