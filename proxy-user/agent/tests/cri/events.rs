//! Events are hints, and only where each subscriber gets all of them.

use std::time::Duration;

use proxy_agent::cri::{Runtime, v1::ContainerEventResponse};
use tokio::{sync::broadcast, time::timeout};
use tonic::Status;

use crate::fake::{Fake, FakeSandbox};

const SOON: Duration = Duration::from_secs(5);

fn event() -> ContainerEventResponse {
    ContainerEventResponse { container_id: "c".to_owned() }
}

/// Waits until the runtime has been asked for its events.
async fn subscribed(fake: &Fake, times: usize) {
    let asked = async {
        while fake.calls("GetContainerEvents") < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, asked).await.expect("events are asked for");
}

/// Waits until there is a subscriber, or none.
async fn listening(events: &broadcast::Sender<ContainerEventResponse>, expected: bool) {
    let changed = async {
        while (events.receiver_count() > 0) != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, changed).await.expect("the subscription changes");
}

#[tokio::test]
async fn an_event_says_look_now() {
    let mut fake = Fake::start(("containerd", "2.1.9"), vec![]);
    let (events, _) = broadcast::channel(16);
    fake.state().events = Some(events.clone());
    let mut runtime = Runtime::new(Some(fake.socket()));
    let look_now = runtime.look_now();
    runtime.pods().await.unwrap();
    subscribed(&fake, 1).await;
    listening(&events, true).await;
    events.send(event()).unwrap();
    timeout(SOON, look_now.notified()).await.expect("a hint");

    // Another connection has events of its own.
    fake.stop();
    fake.run();
    runtime.pods().await.unwrap();
    subscribed(&fake, 2).await;
    listening(&events, true).await;
    events.send(event()).unwrap();
    timeout(SOON, look_now.notified()).await.expect("a hint of the new connection");
}

/// With containerd 1.7 each event goes to one subscriber, and kubelet may be another.
#[tokio::test]
async fn nobody_is_robbed() {
    for version in [("containerd", "1.6.20~ds1"), ("containerd", "1.7.24"), ("other", "3.0.0")] {
        let fake = Fake::start(version, vec![]);
        let mut runtime = Runtime::new(Some(fake.socket()));
        for _ in 0..3 {
            runtime.pods().await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        assert_eq!(fake.calls("GetContainerEvents"), 0, "{version:?}");
    }
}

/// CRI-O has them switched off and ends the stream; others refuse. Looking goes on.
#[tokio::test]
async fn without_events_looking_goes_on() {
    for refusal in [None, Some(Status::unimplemented("no events"))] {
        let fake = Fake::start(("cri-o", "1.37.0"), vec![FakeSandbox::new("a", false)]);
        fake.state().refusals.extend(refusal.map(|refusal| ("GetContainerEvents", refusal)));
        let mut runtime = Runtime::new(Some(fake.socket()));
        let look_now = runtime.look_now();
        runtime.pods().await.unwrap();
        subscribed(&fake, 1).await;
        fake.state().sandboxes.push(FakeSandbox::new("b", false));
        for _ in 0..3 {
            assert_eq!(runtime.pods().await.unwrap().sandboxes.len(), 2);
        }
        assert!(timeout(Duration::from_millis(100), look_now.notified()).await.is_err(), "no event, no hint");
        assert_eq!(fake.calls("GetContainerEvents"), 1, "asked for once a connection");
        assert_eq!(fake.calls("Version"), 1);
    }
}

/// Nobody listens any more: the runtime is not left with a subscriber.
#[tokio::test]
async fn a_subscription_ends_with_its_runtime() {
    let fake = Fake::start(("containerd", "2.1.9"), vec![]);
    let (events, _) = broadcast::channel(16);
    fake.state().events = Some(events.clone());
    let mut runtime = Runtime::new(Some(fake.socket()));
    runtime.pods().await.unwrap();
    subscribed(&fake, 1).await;
    listening(&events, true).await;
    drop(runtime);
    listening(&events, false).await;
}
