//! Stopping: no new connections, open ones may finish, and are cut off after the drain time.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{LOOPBACK, Mode, Running, always, server, soon};

#[tokio::test]
async fn open_connections_finish() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start(Mode::Eth0, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let (mut accepted, _) = soon(application.accept()).await.unwrap();

    relay.stop.send(()).unwrap();
    while TcpStream::connect(relay.outbound).await.is_ok() {
        tokio::task::yield_now().await;
    }
    client.write_all(b"late").await.unwrap();
    let mut request = [0; 4];
    soon(accepted.read_exact(&mut request)).await.unwrap();
    assert_eq!(&request, b"late");
    assert!(!relay.ended.is_finished());

    drop((client, accepted));
    soon(relay.ended).await.unwrap();
}

#[tokio::test]
async fn idle_connections_are_cut_off() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start_on(LOOPBACK, Mode::Eth0, 0, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let _held = soon(application.accept()).await.unwrap();

    let log = relay.finish().await;

    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    assert_eq!(log[0]["failure"], "the relay stopped");
}
