//! The end of a server, and the events that wait for the host at that time.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Config, Event, Interest, PublishSocket, Server};
use std::io::Write;
use std::time::{Duration, Instant};
use support::*;

/// Starts a server with one open connection that has sent `messages` messages, all of which wait for
/// the host.
fn with_backlog(messages: usize) -> (Server, std::net::TcpStream) {
    let config = Config {
        max_pending_messages: messages,
        interest: Interest::PONG.and(Interest::REQUEST).and(Interest::DRAIN),
        ..Config::default()
    };
    let (server, address) = start(config);
    let mut client = open(address);
    opened(&server);
    let frames = frame(0x81, b"hello").repeat(messages);
    client.write_all(&frames).unwrap();
    arrived(&server, messages as u64);
    (server, client)
}

/// Waits until this number of messages waits for the host, which takes none.
fn arrived(server: &Server, messages: u64) {
    let deadline = Instant::now() + PATIENCE;
    while server.stats().pending_messages < messages {
        assert!(Instant::now() < deadline, "{} messages came", server.stats().pending_messages);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns short descriptions of all remaining events.
fn rest(server: &Server) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match next(server) {
            Event::Message { .. } => all.push("message".to_owned()),
            Event::Close { code, .. } => all.push(format!("close {code}")),
            Event::Stopped => return all,
            other => all.push(format!("{other:?}")),
        }
    }
}

#[test]
fn after_the_grace_period_only_close_events_remain() {
    let (server, _client) = with_backlog(1000);
    // After them: a connection of which the host never learns, a pong and a request.
    let address = server.addresses()[0].trim_start_matches("ws://").parse().unwrap();
    let mut unseen = open(address);
    unseen.write_all(&[frame(0x8a, b"pong"), frame(0x81, b"hello")].concat()).unwrap();
    arrived(&server, 1001);
    let mut request = connect(address);
    request.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for _ in 0..10 {
        assert!(matches!(next(&server), Event::Message { .. }));
    }
    server.stop(Duration::ZERO);
    // The second close belongs to the connection whose open event was omitted.
    assert_eq!(rest(&server), ["close 1006", "close 1006"]);
    let stats = server.stats();
    assert_eq!((stats.undelivered, stats.pending_messages), (991, 0));
    assert_eq!(stats.undelivered_bytes, 991 * 5);
}

#[test]
fn events_are_delivered_within_the_grace_period_which_a_second_stop_ends() {
    let (server, _client) = with_backlog(200);
    server.stop(Duration::from_secs(3600));
    for _ in 0..100 {
        assert!(matches!(next(&server), Event::Message { .. }));
    }
    server.stop(Duration::ZERO);
    // A second stop cannot extend the grace period.
    server.stop(Duration::from_secs(3600));
    assert_eq!(rest(&server), ["close 1006"]);
    assert_eq!(server.stats().undelivered, 100);
}

#[test]
fn another_thread_stops_a_server_whose_host_is_busy() {
    let (server, mut client) = with_backlog(10);
    let stopper = server.stopper();
    std::thread::spawn(move || stopper.stop(Duration::from_secs(1))).join().unwrap();
    // The stop does not wait for the host, which has made no call since.
    assert_eq!(read_close(&mut client).0, 1001);
    let address: std::net::SocketAddr = server.addresses()[0].trim_start_matches("ws://").parse().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "the port is free");
    }
    assert_eq!(rest(&server).len(), 11);
}

#[test]
fn durations_beyond_the_clocks_range_mean_never() {
    let config = Config {
        handshake_timeout: Duration::MAX,
        ping_interval: Some(Duration::MAX),
        ping_timeout: Duration::MAX,
        close_timeout: Duration::MAX,
        publish_socket: Some(PublishSocket {
            request_timeout: Duration::MAX,
            ..PublishSocket::new(std::env::temp_dir().join(format!("sprocket-stop-{}", std::process::id())))
        }),
        ..Config::default()
    };
    let (server, address) = start(config);
    let mut client = open(address);
    opened(&server);
    server.wait(Some(Duration::ZERO));
    server.stop(Duration::MAX);
    assert_eq!(read_close(&mut client).0, 1001);
    client.write_all(&close_frame(1001, "")).unwrap();
    drop(client);
    assert_eq!(rest(&server), ["close 1001"]);
    server.check_threads().unwrap();
}
