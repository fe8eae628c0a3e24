//! A connection whose upstream does not answer, resets, or whose original destination is unknown, is closed.

use std::io;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{LOOPBACK, Mode, Running, always, server, soon};

#[tokio::test]
async fn upstream_refuses() {
    let (application, address) = server(LOOPBACK).await;
    drop(application);
    let relay = Running::start(Mode::Eth0, always(address));

    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);

    let log = relay.finish().await;
    assert_eq!(log[0]["upstream_host"], address.to_string());
    assert_eq!(log[0]["upstream_local"], serde_json::Value::Null);
    assert!(log[0]["failure"].as_str().unwrap().contains("refused"), "{log:?}");
}

#[tokio::test]
async fn upstream_resets() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start(Mode::Eth0, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let (accepted, _) = soon(application.accept()).await.unwrap();

    setsockopt(&accepted, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    drop(accepted);
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap_or(0), 0);

    assert!(relay.finish().await[0]["failure"].as_str().unwrap().contains("reset"));
}

#[tokio::test]
async fn answer_before_the_end_of_the_request_is_delivered() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start(Mode::Eth0, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let (mut accepted, _) = soon(application.accept()).await.unwrap();

    client.write_all(b"more than it reads").await.unwrap();
    soon(accepted.peek(&mut [0])).await.unwrap();
    accepted.write_all(b"413").await.unwrap();
    // The request is unread: this sends a reset, as a server that refuses a body does.
    drop(accepted);
    let mut answer = Vec::new();
    let _ = soon(client.read_to_end(&mut answer)).await;

    assert_eq!(answer, b"413");
    relay.finish().await;
}

#[tokio::test]
async fn upstream_resets_after_its_end_of_stream() {
    let (application, address) = server(LOOPBACK).await;
    let relay = Running::start_on(LOOPBACK, Mode::Eth0, 60, always(address));
    let mut client = soon(TcpStream::connect(relay.outbound)).await.unwrap();
    let (accepted, _) = soon(application.accept()).await.unwrap();

    drop(accepted);
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);
    client.write_all(b"answered by a reset").await.unwrap();

    // The client keeps its side open; only the reset can end the connection before the drain time.
    assert!(relay.finish().await[0]["failure"].is_string());
}

#[tokio::test]
async fn original_destination_unknown() {
    let relay = Running::start(Mode::Eth0, Box::new(|_| Err(io::Error::other("no such thing"))));
    let mut client = soon(TcpStream::connect(relay.inbound)).await.unwrap();
    assert_eq!(soon(client.read(&mut [0; 8])).await.unwrap(), 0);

    let log = relay.finish().await;
    assert_eq!(log[0]["failure"], "no such thing");
    assert_eq!(log[0]["downstream_local"], serde_json::Value::Null);
}
