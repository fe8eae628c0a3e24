//! Where nobody has named the socket.

use proxy_agent::cri::{PLACES, Runtime};
use tonic::Status;

use crate::fake::{Fake, FakeSandbox};

#[tokio::test]
async fn the_first_that_answers() {
    let none = tempfile::tempdir().unwrap().path().join("none.sock");
    // containerd of a Docker installation has the CRI switched off.
    let docker = Fake::start(("containerd", "2.1.9"), vec![]);
    docker
        .state()
        .refusals
        .insert("Version", Status::unimplemented("unknown service runtime.v1.RuntimeService"));
    let k3s = Fake::start(("containerd", "v2.1.4-k3s1"), vec![FakeSandbox::new("a", false)]);
    let mut runtime = Runtime::at_first_of(vec![none.clone(), docker.socket(), k3s.socket()]);
    assert_eq!(runtime.pods().await.unwrap().sandboxes.len(), 1);
    let about = runtime.about().unwrap();
    assert_eq!((&about.socket, about.version.as_str()), (&k3s.socket(), "v2.1.4-k3s1"));

    let away =
        Runtime::at_first_of(vec![none.clone(), docker.socket()]).pods().await.unwrap_err().to_string();
    let docker = docker.socket();
    assert!(away.contains(&format!("{}: it answers", docker.display())), "{away}");
    assert!(!away.contains("none.sock"), "{away}");
}

/// As kubelet and crictl are told it.
#[tokio::test]
async fn an_endpoint_of_kubelets() {
    let fake = Fake::start(("containerd", "2.1.9"), vec![]);
    let endpoint = format!("unix://{}", fake.socket().display());
    let mut runtime = Runtime::new(Some(endpoint.into()));
    runtime.pods().await.unwrap();
    assert_eq!(runtime.about().unwrap().socket, fake.socket());
}

#[test]
fn places_are_sockets_of_the_node() {
    assert!(PLACES.iter().all(|place| place.starts_with('/') && place.ends_with(".sock")));
}
