//! One side may end its stream and still be answered; large bodies arrive whole.

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{LOOPBACK, Mode, Running, always, server, soon};

#[rstest]
#[case::empty(0, 0)]
#[case::small(1, 1)]
#[case::large(5_000_000, 3_000_000)]
#[tokio::test]
async fn client_ends_first(#[case] request: usize, #[case] response: usize) {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start(Mode::Eth0, always(address));
    let served = tokio::spawn(async move {
        let (mut accepted, _) = application.accept().await.unwrap();
        let mut body = Vec::new();
        // Comes to an end only if the client's FIN is passed on while its receiving side stays open.
        accepted.read_to_end(&mut body).await.unwrap();
        accepted.write_all(&pattern(response)).await.unwrap();
        body
    });

    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    soon(client.write_all(&pattern(request))).await.unwrap();
    client.shutdown().await.unwrap();
    let mut body = Vec::new();
    soon(client.read_to_end(&mut body)).await.unwrap();

    assert!(body == pattern(response), "the response differs: {} of {response} bytes", body.len());
    let received = soon(served).await.unwrap();
    assert!(received == pattern(request), "the request differs: {} of {request} bytes", received.len());
    let log = relay.finish().await;
    assert_eq!((&log[0]["bytes_received"], &log[0]["bytes_sent"]), (&request.into(), &response.into()));
    assert_eq!(log[0]["failure"], serde_json::Value::Null);
}

#[tokio::test]
async fn server_ends_first() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start(Mode::Eth0, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let (mut accepted, _) = soon(application.accept()).await.unwrap();

    accepted.write_all(b"bye").await.unwrap();
    accepted.shutdown().await.unwrap();
    let mut greeting = Vec::new();
    soon(client.read_to_end(&mut greeting)).await.unwrap();
    client.write_all(b"and you").await.unwrap();
    drop(client);
    let mut reply = Vec::new();
    soon(accepted.read_to_end(&mut reply)).await.unwrap();

    assert_eq!((greeting.as_slice(), reply.as_slice()), (b"bye".as_slice(), b"and you".as_slice()));
    assert_eq!(relay.finish().await[0]["failure"], serde_json::Value::Null);
}

/// Bytes whose order shows.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
