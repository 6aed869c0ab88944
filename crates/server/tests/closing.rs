//! The end of connections: messages that the server has accepted from the host leave before the close
//! frame.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use sprocket_server::{Config, Event, SendOutcome, Server};
use std::io::Write;
use std::time::{Duration, Instant};
use support::*;

const NEVER: Duration = Duration::from_secs(60);

fn message(server: &Server) -> Vec<u8> {
    match next(server) {
        Event::Message { payload, .. } => payload.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn closed(server: &Server) -> (u16, String) {
    match next(server) {
        Event::Close { code, reason, .. } => (code, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_before_a_close_frame_are_answered_first() {
    let (server, address) = start(Config { close_timeout: NEVER, ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&[frame(0x81, b"one"), frame(0x81, b"two"), close_frame(1000, "bye")].concat()).unwrap();
    for expected in [&b"one"[..], b"two"] {
        assert_eq!(message(&server), expected);
        assert_eq!(server.send(&conn, expected, false), SendOutcome::Sent);
    }
    assert_eq!(closed(&server), (1000, "bye".to_owned()));
    assert_eq!(server.send(&conn, b"late", false), SendOutcome::Closed);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, b"one".to_vec()));
    assert_eq!(read_frame(&mut client), (0x81, b"two".to_vec()));
    assert_eq!(read_close(&mut client), (1000, "bye".to_owned()));
    assert!(at_end(&mut client));
}

#[test]
fn an_answer_in_the_current_batch_precedes_the_close_frame() {
    let (server, address) = start(Config { close_timeout: NEVER, ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&frame(0x81, b"one")).unwrap();
    assert_eq!(message(&server), b"one");
    assert_eq!(server.send(&conn, b"answer", false), SendOutcome::Sent);
    // The answer leaves with the current batch of commands; the close frame arrives before the batch
    // ends.
    client.write_all(&frame(0x88, b"")).unwrap();
    assert_eq!(closed(&server).0, 1005);
    assert_eq!(read_frame(&mut client), (0x81, b"answer".to_vec()));
    assert_eq!(read_frame(&mut client), (0x88, vec![]));
}

#[test]
fn a_close_frame_is_answered_at_once_while_the_host_serves_other_connections() {
    let (server, address) = start(Config { close_timeout: NEVER, ..Config::default() });
    let mut other = open(address);
    opened(&server);
    let mut client = open(address);
    opened(&server);
    other.write_all(&frame(0x81, b"work")).unwrap();
    assert_eq!(message(&server), b"work");
    client.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(read_close(&mut client).0, 1000);
    assert!(at_end(&mut client));
}

#[test]
fn a_host_that_does_not_answer_cannot_delay_the_reply_to_a_close_frame() {
    let (server, address) = start(Config { close_timeout: Duration::from_millis(100), ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&[frame(0x81, b"work"), close_frame(1000, "")].concat()).unwrap();
    assert_eq!(message(&server), b"work");
    assert_eq!(read_close(&mut client).0, 1000);
    assert_eq!(server.send(&conn, b"late", false), SendOutcome::Closed);
    assert_eq!(closed(&server).0, 1000);
}

#[test]
fn a_stopping_server_delivers_answers_and_refuses_other_messages() {
    let (server, address) = start(Config { close_timeout: NEVER, ..Config::default() });
    let mut quiet = open(address);
    let quiet_one = opened(&server);
    let mut client = open(address);
    let conn = opened(&server);
    client.write_all(&[frame(0x81, b"one"), frame(0x81, b"two")].concat()).unwrap();
    assert_eq!(message(&server), b"one");
    server.stop(NEVER);
    assert_eq!(server.send(&quiet_one, b"too late", false), SendOutcome::Closed);
    assert_eq!(server.send(&conn, b"first", false), SendOutcome::Sent);
    assert_eq!(read_close(&mut quiet).0, 1001);
    assert_eq!(message(&server), b"two");
    assert_eq!(server.send(&conn, b"second", false), SendOutcome::Sent);
    // The host has taken both messages.
    assert!(server.next_event().is_none());
    assert_eq!(server.send(&conn, b"too late", false), SendOutcome::Closed);
    let reader = std::thread::spawn(move || {
        for expected in [&b"first"[..], b"second"] {
            assert_eq!(read_frame(&mut client), (0x81, expected.to_vec()));
        }
        assert_eq!(read_close(&mut client).0, 1001);
        for client in [&mut quiet, &mut client] {
            client.write_all(&close_frame(1001, "")).unwrap();
            assert!(at_end(client));
        }
    });
    pump(&server, |_, _| {}, || reader.is_finished());
    reader.join().unwrap();
}

#[test]
fn a_stop_waits_for_the_host_no_longer_than_the_grace_period() {
    let (server, address) = start(Config { close_timeout: NEVER, ..Config::default() });
    let mut client = open(address);
    opened(&server);
    client.write_all(&frame(0x81, b"work")).unwrap();
    assert_eq!(message(&server), b"work");
    server.stop(Duration::from_secs(1));
    assert_eq!(read_close(&mut client).0, 1001);
}

#[test]
fn a_stop_waits_for_unwritten_messages() {
    const SIZE: usize = 16 << 20;
    let config = Config { send_buffer_limit: 2 * SIZE, close_timeout: NEVER, ..Config::default() };
    let (server, address) = start(config);
    let mut client = open(address);
    let conn = opened(&server);
    assert_eq!(server.send(&conn, &vec![7; SIZE], true), SendOutcome::Sent);
    server.flush();
    client.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(closed(&server).0, 1000);
    server.stop(NEVER);
    assert!(quiet(&server, Duration::from_millis(50)), "the socket cannot have taken all of it");
    let reader = std::thread::spawn(move || {
        assert_eq!(read_frame(&mut client).1.len(), SIZE);
        assert_eq!(read_close(&mut client).0, 1000);
        client
    });
    assert!(matches!(next(&server), Event::Stopped));
    drop(server);
    reader.join().unwrap();
}

#[test]
fn a_peer_that_reads_nothing_is_cut_despite_unwritten_messages() {
    const SIZE: usize = 16 << 20;
    let config = Config {
        send_buffer_limit: 2 * SIZE,
        close_timeout: Duration::from_millis(200),
        ..Config::default()
    };
    let (server, address) = start(config);
    let _client = open(address);
    let conn = opened(&server);
    assert_eq!(server.send(&conn, &vec![7; SIZE], true), SendOutcome::Sent);
    assert!(server.close(&conn, 1000, ""));
    server.flush();
    let begun = Instant::now();
    assert_eq!(closed(&server).0, 1006);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(server.stats().close_timeouts, 1);
}
