//! The runtime goes away, and comes back.

use std::time::Duration;

use proxy_agent::cri::{Runtime, Snapshot};

use crate::fake::{Fake, FakeSandbox};

/// Looks until the runtime is back.
async fn again(runtime: &mut Runtime) -> Snapshot {
    for _ in 0..100 {
        if let Ok(found) = runtime.pods().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not found again within 5 s: {:?}", runtime.pods().await);
}

#[tokio::test]
async fn away_for_a_while() {
    let mut fake = Fake::start(("containerd", "1.7.24"), vec![FakeSandbox::new("a", false)]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    let before = runtime.pods().await.unwrap();
    assert_eq!(runtime.about().unwrap().version, "1.7.24");

    fake.stop();
    for _ in 0..5 {
        let away = runtime.pods().await.unwrap_err().to_string();
        let reason = format!("there is no socket at {}", fake.socket().display());
        assert_eq!(away, format!("the container runtime does not answer: {reason}"));
        assert_eq!(runtime.about(), None);
    }

    // Another version of it, with a sandbox more.
    fake.state().version.1 = "2.1.9";
    fake.state().sandboxes.push(FakeSandbox::new("b", false));
    fake.run();
    let after = again(&mut runtime).await;
    assert_eq!(after.sandboxes[..1], before.sandboxes[..]);
    assert_eq!(after.sandboxes.len(), 2);
    assert_eq!(runtime.about().unwrap().version, "2.1.9");
    assert_eq!(fake.calls("PodSandboxStatus"), 2, "what was known is known");
}

/// Between two looks: nobody notices but for the version, which is asked for again.
#[tokio::test]
async fn restarted_at_once() {
    let mut fake = Fake::start(("containerd", "1.7.24"), vec![FakeSandbox::new("a", false)]);
    let mut runtime = Runtime::new(Some(fake.socket()));
    let before = runtime.pods().await.unwrap();
    for _ in 0..5 {
        fake.stop();
        fake.run();
        assert_eq!(runtime.pods().await.unwrap(), before);
    }
    assert_eq!(fake.calls("Version"), 6);
}

/// Whoever looks often does not knock as often.
#[tokio::test]
async fn attempts_have_pauses() {
    let mut fake = Fake::start(("containerd", "1.7.24"), vec![]);
    fake.stop();
    let socket = std::os::unix::net::UnixListener::bind(fake.socket()).unwrap();
    let mut runtime = Runtime::new(Some(fake.socket())).answers_within(Duration::from_millis(50));
    let started = std::time::Instant::now();
    let mut looks = 0;
    while started.elapsed() < Duration::from_secs(1) {
        runtime.pods().await.unwrap_err();
        looks += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    socket.set_nonblocking(true).unwrap();
    let attempts = std::iter::from_fn(|| socket.accept().ok()).count();
    assert!((2..=5).contains(&attempts), "{attempts} attempts in {looks} looks");
    assert!(looks > 20, "{looks}");
    std::fs::remove_file(fake.socket()).unwrap();
}
