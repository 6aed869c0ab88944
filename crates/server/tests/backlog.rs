//! Limits on the events that wait for the host, for each connection and in total.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use sprocket_server::{Config, Event, Interest, Server, Stats};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::*;

/// Maximum size of an event without its payload, in bytes.
const EVENT: u64 = 1024;

/// Waits until the counters satisfy `done`, without taking an event.
fn await_stats(server: &Server, what: &str, done: impl Fn(&Stats) -> bool) -> Stats {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = server.stats();
        if done(&stats) {
            return stats;
        }
        assert!(Instant::now() < deadline, "{what}: {stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Closes a connection by a reset. An ordinary end may be a half-close, after which a client still expects
/// its response.
fn reset(client: TcpStream) {
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends a handshake and returns the status of its response.
fn status(address: SocketAddr) -> (u16, TcpStream) {
    let mut stream = connect(address);
    stream.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let head = read_head(&mut stream);
    (head[9..12].parse().unwrap(), stream)
}

/// A client sends thousands of frames at once while the host takes no event. The server turns only as
/// many into events as the connection's credit allows; once the host takes them, all arrive in order.
fn check_credit(frames: impl Fn(usize) -> Vec<u8>, before: &[u8], pongs: bool) {
    const CREDIT: usize = 16;
    const ALL: usize = 5000;
    let config = Config {
        max_pending_messages: CREDIT,
        interest: if pongs { Interest::PONG } else { Interest::NONE },
        ..Config::default()
    };
    let (server, address) = start(config);
    let mut client = open(address);
    opened(&server);
    let input = [before, &(0..ALL).flat_map(&frames).collect::<Vec<_>>()].concat();
    let held = input.len() as u64;
    let sender = std::thread::spawn(move || {
        client.write_all(&input).unwrap();
        client
    });
    let stats = await_stats(&server, "it pauses", |stats| stats.paused > 0);
    assert!(stats.pending_total < held + CREDIT as u64 * EVENT, "{}", stats.pending_total);
    if !pongs {
        assert_eq!((stats.messages_in, stats.pending_messages), (CREDIT as u64, CREDIT as u64));
    }
    for expected in 0..ALL {
        let (Event::Message { payload, .. } | Event::Pong { payload, .. }) = next(&server) else { panic!() };
        assert_eq!(payload, expected.to_string().as_bytes());
    }
    drop(sender.join().unwrap());
    closed(&server);
    await_stats(&server, "nothing is left", |stats| stats.pending_total == 0);
}

fn closed(server: &Server) {
    loop {
        if let Event::Close { .. } = next(server) {
            return;
        }
    }
}

#[test]
fn reading_stops_at_the_message_at_which_the_credit_ends() {
    check_credit(|n| frame(0x81, n.to_string().as_bytes()), b"", false);
}

#[test]
fn reading_stops_at_the_fragment_at_which_the_credit_ends() {
    let fragments = |n: usize| [frame(0x02, b""), frame(0x80, n.to_string().as_bytes())].concat();
    check_credit(fragments, b"", false);
}

#[test]
fn pongs_use_the_same_credit() {
    check_credit(|n| frame(0x8a, n.to_string().as_bytes()), b"", true);
}

#[test]
fn pongs_inside_a_fragmented_message_use_the_same_credit() {
    check_credit(|n| frame(0x8a, n.to_string().as_bytes()), &frame(0x01, b"begun"), true);
}

#[test]
fn large_messages_in_one_read_use_their_credit() {
    let (server, address) = start(Config { max_pending_messages: 3, ..Config::default() });
    let mut client = open(address);
    opened(&server);
    let message = frame(0x82, &[b'x'; 8000]);
    client.write_all(&message.repeat(60)).unwrap();
    await_stats(&server, "it pauses", |stats| stats.paused > 0);
    for _ in 0..60 {
        assert!(server.stats().pending_messages <= 3);
        assert!(matches!(next(&server), Event::Message { payload, .. } if payload.len() == 8000));
    }
}

#[test]
fn a_connection_counts_until_the_host_takes_its_close_event() {
    for per_ip in [false, true] {
        let (max, each) = if per_ip { (100, 2) } else { (2, 0) };
        let config = Config { max_connections: max, max_connections_per_ip: each, ..Config::default() };
        let (server, address) = start(config);
        for n in 1..=2 {
            let mut client = open(address);
            client.write_all(&close_frame(1000, "")).unwrap();
            assert_eq!(read_close(&mut client).0, 1000);
            let stats = await_stats(&server, "the end", |stats| stats.closed == n);
            assert_eq!((stats.connections, stats.handshakes), (0, 0));
        }
        assert_eq!(status(address).0, if per_ip { 429 } else { 503 });
        (0..2).for_each(|_| closed(&server));
        assert_eq!(status(address).0, 101);
    }
}

#[test]
fn messages_of_ended_connections_count_against_the_backlog_limit() {
    const LIMIT: u64 = 1 << 20;
    let config = Config { max_pending_total: LIMIT as usize, ..Config::default() };
    let (server, address) = start(config);
    let message = frame(0x82, &[7; 100_000]);
    let (mut accepted, mut clients) = (0, Vec::new());
    let refused = loop {
        let (status, mut client) = status(address);
        if status != 101 {
            let mut body = String::new();
            client.read_to_string(&mut body).unwrap();
            assert!(body.contains("too busy"), "{body}");
            break status;
        }
        accepted += 1;
        assert!(accepted < 100, "no connection is refused");
        client.write_all(&message.repeat(3)).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        await_stats(&server, "it is read", |stats| {
            stats.messages_in == 3 * accepted || stats.pending_full > 0
        });
        clients.push(client);
    };
    assert_eq!(refused, 503);
    let stats = server.stats();
    assert!(stats.pending_total < LIMIT + (300 << 10), "{}", stats.pending_total);
    assert_eq!((stats.refused_pending, stats.pending_full > 0), (1, true));
    // No accepted message is lost.
    let (mut messages, mut ends) = (0, 0);
    while ends < accepted {
        match next(&server) {
            Event::Message { .. } => messages += 1,
            Event::Close { .. } => ends += 1,
            _ => {}
        }
    }
    assert_eq!(messages, 3 * accepted);
    assert_eq!(server.stats().pending_total, 0);
    assert_eq!(status(address).0, 101);
}

#[test]
fn a_connection_that_is_not_read_does_not_time_out() {
    const LIMIT: usize = 1 << 20;
    let config = Config {
        max_pending_total: LIMIT,
        ping_interval: Some(Duration::from_millis(50)),
        ping_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let (server, address) = start(config);
    let mut silent = open(address);
    opened(&server);
    let mut busy = open(address);
    opened(&server);
    busy.write_all(&frame(0x82, &[7; LIMIT - 100]).repeat(2)).unwrap();
    await_stats(&server, "it is full", |stats| stats.pending_full > 0);
    let before = server.stats();
    // The pause is several times the period after which a connection without a pong counts as dead.
    std::thread::sleep(Duration::from_millis(500));
    let stats = server.stats();
    assert_eq!((stats.ping_timeouts, stats.connections), (before.ping_timeouts, 2));
    silent.write_all(&frame(0x81, b"here")).unwrap();
    for _ in 0..3 {
        assert!(matches!(next(&server), Event::Message { .. }));
    }
    await_stats(&server, "all is read again", |stats| stats.pings > before.pings);
}

#[test]
fn a_request_is_released_as_soon_as_its_client_resets_the_connection() {
    let patient = Duration::from_mins(1);
    let config = Config {
        handshake_timeout: patient,
        interest: Interest::REQUEST.and(Interest::UPGRADE),
        ..Config::default()
    };
    let (server, address) = start(config);
    let mut client = connect(address);
    let head = format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: 500000\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&[b'x'; 500_000]).unwrap();
    await_stats(&server, "it waits", |stats| stats.pending_total > 500_000);
    reset(client);
    await_stats(&server, "it does not wait any more", |stats| stats.pending_total < 100_000);
    // A handshake is useless to a client that has closed only its sending side, too.
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    await_stats(&server, "it waits", |stats| stats.handshakes == 1);
    drop(client);
    await_stats(&server, "it does not", |stats| stats.handshakes == 0);
    assert!(server.next_event().is_none());
    assert_eq!(server.stats().pending_total, 0);
}

#[test]
fn a_body_in_one_byte_pieces_needs_one_buffer() {
    let (server, address) = start(Config { interest: Interest::REQUEST, ..Config::default() });
    let mut client = connect(address);
    let head = format!("POST / HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&b"1\r\nx\r\n".repeat(60_000)).unwrap();
    client.write_all(b"0\r\n\r\n").unwrap();
    let stats = await_stats(&server, "it waits", |stats| stats.http_requests == 1);
    assert!((60_000..140_000).contains(&stats.pending_total), "{}", stats.pending_total);
    let Event::Request { body, .. } = next(&server) else { panic!() };
    assert!(body.len() == 60_000 && body.iter().all(|byte| *byte == b'x'));
}

#[test]
fn a_content_length_over_the_limit_is_refused_before_the_body() {
    let (server, address) = start(Config { interest: Interest::REQUEST, ..Config::default() });
    let more = format!("Host: {address}\r\nContent-Length: 1048577\r\nExpect: 100-continue\r\n\r\n");
    let answer = exchange(address, format!("POST / HTTP/1.1\r\n{more}").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(server.next_event().is_none());
}
