//! Direct writes: the host's thread writes a message itself while the I/O thread is idle. The stream of
//! bytes must not differ from that of the I/O thread.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use sprocket_server::{Config, Connection, SendOutcome, Server};
use std::io::Write;
use std::time::Duration;
use support::*;

/// Sends a batch of one message while the I/O thread is most likely idle.
fn send_alone(server: &Server, conn: &Connection, payload: &[u8]) {
    server.wait(Some(Duration::from_millis(1)));
    assert_eq!(server.send(conn, payload, true), SendOutcome::Sent);
    server.flush();
}

#[test]
fn a_peer_that_stops_reading_gets_everything_in_order() {
    const SIZE: usize = 60_000;
    let (server, address) = start(Config { send_buffer_limit: 64 << 20, ..Config::default() });
    let mut client = open(address);
    let conn = opened(&server);
    let payload = |i: usize| [&(i as u32).to_be_bytes()[..], &vec![i as u8; SIZE]].concat();
    let mut sent = 0;
    // The socket accepts some messages, then a part of one, then nothing; the I/O thread writes the
    // rest.
    while conn.buffered_amount() < 10 * SIZE {
        send_alone(&server, &conn, &payload(sent));
        if sent.is_multiple_of(7) {
            client.write_all(&frame(0x89, b"ping")).unwrap();
        }
        sent += 1;
        assert!(sent < 2000, "the socket accepts all data");
    }
    let (mut got, mut pongs) = (0, 0);
    while got < sent {
        match read_frame(&mut client) {
            (0x82, data) => {
                assert!(data == payload(got), "message {got} of {sent}");
                got += 1;
            }
            (first, data) => {
                assert_eq!((first, &data[..]), (0x8a, &b"ping"[..]));
                pongs += 1;
            }
        }
    }
    assert!(pongs > 0);
    // Direct writes are possible again.
    pump(&server, |_, event| panic!("{event:?}"), || conn.buffered_amount() == 0);
    send_alone(&server, &conn, b"afterwards");
    loop {
        match read_frame(&mut client) {
            (0x8a, _) => {}
            other => break assert_eq!(other, (0x82, b"afterwards".to_vec())),
        }
    }
    assert_eq!(server.stats().messages_out, sent as u64 + 1);
}

#[test]
fn messages_sent_together_arrive_in_order_among_other_commands() {
    let (server, address) = start(Config::default());
    let mut client = open(address);
    let conn = opened(&server);
    let mut other = open(address);
    let other_conn = opened(&server);
    let payload = |i: usize| vec![i as u8; i % 7 * 40 + if i % 50 == 49 { 2000 } else { 0 }];
    for i in 0..500 {
        assert_eq!(server.send(&conn, &payload(i), i % 3 == 0), SendOutcome::Sent);
        match i % 30 {
            10 => assert!(server.ping(&conn, &[i as u8])),
            20 => assert_eq!(server.send(&other_conn, &payload(i), true), SendOutcome::Sent),
            // The thread may take what was sent so far, or not.
            25 => server.flush(),
            _ => {}
        }
    }
    server.close(&conn, 1000, "done");
    server.flush();
    for i in 0..500 {
        assert!(read_frame(&mut client) == (if i % 3 == 0 { 0x82 } else { 0x81 }, payload(i)), "message {i}");
        if i % 30 == 10 {
            assert_eq!(read_frame(&mut client), (0x89, vec![i as u8]));
        }
        if i % 30 == 20 {
            assert_eq!(read_frame(&mut other), (0x82, payload(i)));
        }
    }
    assert_eq!(read_close(&mut client), (1000, "done".to_owned()));
    pump(&server, |_, _| {}, || server.stats().messages_out == 516 && conn.buffered_amount() == 0);
}

#[test]
fn no_message_follows_the_close_frame_of_a_stop() {
    for _ in 0..20 {
        let (server, address) = start(Config::default());
        let mut client = open(address);
        let conn = opened(&server);
        send_alone(&server, &conn, b"before");
        server.stop(Duration::from_secs(5));
        assert_eq!(server.send(&conn, b"after", true), SendOutcome::Closed);
        assert_eq!(read_frame(&mut client), (0x82, b"before".to_vec()));
        assert_eq!(read_close(&mut client).0, 1001);
        assert_eq!(server.send(&conn, b"after", true), SendOutcome::Closed);
        client.write_all(&close_frame(1001, "")).unwrap();
        assert!(at_end(&mut client));
    }
}
