//! A runtime that does not answer keeps nobody waiting.

use std::time::{Duration, Instant};

use proxy_agent::cri::Runtime;

use crate::fake::{Fake, FakeSandbox};

const DEADLINE: Duration = Duration::from_millis(300);

#[tokio::test]
async fn one_sandbox_that_hangs() {
    let sandboxes = ["hangs-1", "hangs-2", "hangs-3", "a"].map(|name| FakeSandbox::new(name, false));
    let fake = Fake::start(("containerd", "1.7.24"), sandboxes.into());
    fake.state().hanging.insert("id-hangs".to_owned());
    let mut runtime = Runtime::new(Some(fake.socket())).answers_within(DEADLINE);

    let started = Instant::now();
    let found = runtime.pods().await.unwrap();
    assert!(
        (1..3).contains(&(started.elapsed().as_millis() / DEADLINE.as_millis())),
        "{:?}",
        started.elapsed()
    );
    let reasons: Vec<&str> = found.unclear.iter().map(|it| it.reason.as_str()).collect();
    let not_asked = "the runtime is late; not asked yet";
    assert_eq!(reasons, ["no answer within 0.3 s", not_asked, not_asked, not_asked]);

    // Each look comes past one more of them; at the fourth everybody else is known.
    for _ in 0..3 {
        runtime.pods().await.unwrap();
    }
    let found = runtime.pods().await.unwrap();
    let names: Vec<&str> = found.sandboxes.iter().map(|it| it.pod.name.name.as_str()).collect();
    assert_eq!((names, found.unclear.len()), (vec!["a"], 3));
}

/// It accepts connections and says nothing: stopped, or no runtime at all.
#[tokio::test]
async fn nobody_speaks() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("silent.sock");
    let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
    let started = Instant::now();
    let mut runtime = Runtime::new(Some(socket)).answers_within(DEADLINE);
    let away = runtime.pods().await.unwrap_err().to_string();
    assert!(away.ends_with("silent.sock: no answer within 0.3 s"), "{away}");
    assert!(started.elapsed() < DEADLINE * 3);
}
