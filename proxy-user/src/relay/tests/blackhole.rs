//! What is addressed to the relay itself is closed, and never comes back to it.

use rstest::rstest;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{super::original_dst::from_kernel, Mode, Running, soon};

#[rstest]
#[case::eth0(Mode::Eth0)]
#[case::lo(Mode::Lo)]
#[tokio::test]
async fn nothing_redirected(#[case] mode: Mode) {
    // Nothing redirects here: the kernel has no original destination but the relay's own address.
    let relay = Running::start(mode, Box::new(from_kernel));
    for entrance in [relay.outbound, relay.inbound] {
        let mut client = soon(TcpStream::connect(entrance)).await.unwrap();
        assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    }

    let log = relay.finish().await;
    assert_eq!(log.len(), 2);
    for line in log {
        assert_eq!(line["downstream_local"], line["downstream_direct_local"]);
        assert_eq!(line["upstream_host"], serde_json::Value::Null);
        assert_eq!(line["failure"], "addressed to the relay itself");
    }
}
