//! The sidecar's container comes after its sandbox.

use proxy_agent::{cri::Runtime, pod::Proxy};
use tonic::Status;

use crate::fake::{Fake, FakeSandbox};

async fn proxy(runtime: &mut Runtime) -> Option<Proxy> {
    let found = runtime.pods().await.unwrap();
    found.sandboxes.into_iter().find(|sandbox| sandbox.pod.name.name == "a").unwrap().pod.proxy
}

#[tokio::test]
async fn it_is_asked_for_until_it_is_there() {
    let sandboxes = vec![FakeSandbox::new("a", true), FakeSandbox::new("no-sidecar", false)];
    let fake = Fake::start(("containerd", "1.7.24"), sandboxes);
    let mut runtime = Runtime::new(Some(fake.socket()));
    assert_eq!(proxy(&mut runtime).await, None);
    fake.state().sandboxes[0].add_container("istio-validation", 1337, "A=b");
    assert_eq!(proxy(&mut runtime).await, None);
    assert_eq!(fake.calls("ListContainers"), 2, "of the pod with a sidecar");

    fake.state().sandboxes[0].add_container("istio-proxy", 1444, "ISTIO_META_DNS_CAPTURE=true");
    for _ in 0..3 {
        let proxy = proxy(&mut runtime).await.unwrap();
        assert_eq!((proxy.uid, proxy.gid), (Some(1444), Some(1444)));
        assert_eq!(proxy.env["ISTIO_META_DNS_CAPTURE"], "true");
        assert_eq!(proxy.args, ["proxy"]);
    }
    assert_eq!((fake.calls("ListContainers"), fake.calls("ContainerStatus")), (3, 1));
    assert_eq!(fake.calls("PodSandboxStatus"), 2);
}

/// The pod is known all the same: its annotations decide meanwhile.
#[tokio::test]
async fn a_sidecar_that_nothing_is_said_of() {
    let mut sandbox = FakeSandbox::new("a", true);
    sandbox.add_container("istio-proxy", 1337, "A=b");
    let fake = Fake::start(("containerd", "1.7.24"), vec![sandbox]);
    fake.state().refusals.insert("ContainerStatus", Status::not_found("it has gone"));
    let mut runtime = Runtime::new(Some(fake.socket()));
    assert_eq!(proxy(&mut runtime).await, None);
    fake.state().refusals.clear();
    assert_eq!(proxy(&mut runtime).await.unwrap().uid, Some(1337));
}
