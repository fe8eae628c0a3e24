//! Who connects to whom, from where, in each mode; and what the access log says of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{LOOPBACK, Mode, Running, always, server, soon};

const SIDECAR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
/// As good as a pod's address: local, and not 127.0.0.1.
const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3));
const LOOPBACK_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[rstest]
#[case::outbound(LOOPBACK, "outbound", Mode::Eth0, POD, POD, LOOPBACK)]
#[case::outbound_v6(LOOPBACK_V6, "outbound", Mode::Eth0, LOOPBACK_V6, LOOPBACK_V6, LOOPBACK_V6)]
#[case::inbound_eth0(LOOPBACK, "inbound", Mode::Eth0, POD, POD, SIDECAR)]
#[case::inbound_lo(LOOPBACK, "inbound", Mode::Lo, POD, LOOPBACK, LOOPBACK)]
#[case::inbound_lo_v6(LOOPBACK_V6, "inbound", Mode::Lo, LOOPBACK_V6, LOOPBACK_V6, LOOPBACK_V6)]
#[tokio::test]
async fn forward(
    #[case] relay_ip: IpAddr,
    #[case] direction: &str,
    #[case] mode: Mode,
    #[case] original: IpAddr,
    #[case] serves: IpAddr,
    #[case] source: IpAddr,
) {
    let (application, address) = server(serves).await;
    let original = SocketAddr::new(original, address.port());
    let relay = Running::start_on(relay_ip, mode, 5, always(original));
    let entrance = if direction == "outbound" { relay.outbound } else { relay.inbound };

    let mut client = soon(TcpStream::connect(entrance)).await.unwrap();
    let (mut accepted, seen) = soon(application.accept()).await.unwrap();
    client.write_all(b"ping?").await.unwrap();
    let mut request = [0; 5];
    soon(accepted.read_exact(&mut request)).await.unwrap();
    accepted.write_all(b"pong").await.unwrap();
    drop(accepted);
    let mut response = Vec::new();
    soon(client.read_to_end(&mut response)).await.unwrap();
    let client_address = client.local_addr().unwrap();
    drop(client);

    assert_eq!((&request, response.as_slice()), (b"ping?", b"pong".as_slice()));
    assert_eq!(seen.ip(), source);
    let log = relay.finish().await;
    let want = serde_json::json!([{
        "direction": direction,
        "downstream_remote": client_address,
        "downstream_direct_local": entrance,
        "downstream_local": original,
        "upstream_host": address,
        "upstream_local": seen,
        "bytes_received": 5,
        "bytes_sent": 4,
        "failure": null,
    }]);
    assert_eq!(serde_json::Value::from(log), want);
}
