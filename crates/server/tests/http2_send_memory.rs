//! Memory of data that waits inside an HTTP/2 connection for a client that does not read.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a test may panic and tell")]

#[path = "support/http2.rs"]
mod http2;
#[path = "support/memory.rs"]
mod memory;
mod support;
#[path = "support/secure.rs"]
mod tls;

use bytes::Bytes;
use http2::*;
use memory::{alone, memory};
use sprocket_server::{Config, Connection, Event, Response, ResponseStream, SendOutcome, Server};
use std::io::Write;
use std::time::{Duration, Instant};
use support::*;
use tls::Secure;

/// Maximum number of pieces of one byte on each stream. So many messages fill the 64 KiB that may wait inside
/// the connection.
const PIECES: usize = 22_000;
/// Number of pieces on each stream after the connection has ceased to take them.
const MORE: usize = 1000;
/// Bytes of the message that fills the kernel's buffers.
const FILL: usize = 16 << 20;
/// Maximum memory of three streams in bytes.
const MOST: usize = 4 << 20;

/// Waits until the number is 0, or has not fallen for a while. Returns whether it is 0.
fn settles(waiting: impl Fn() -> usize) -> bool {
    let (mut least, mut since) = (usize::MAX, Instant::now());
    while since.elapsed() < Duration::from_millis(200) {
        match waiting() {
            0 => return true,
            now if now < least => (least, since) = (now, Instant::now()),
            _ => std::thread::yield_now(),
        }
    }
    false
}

/// Sends pieces one by one until the connection takes no more, and some more. Returns their number.
fn send_pieces(send: impl Fn(u8), waiting: impl Fn() -> usize) -> usize {
    let taken = (0..PIECES).take_while(|i| {
        send(*i as u8);
        settles(&waiting)
    });
    let all = taken.count() + 1 + MORE;
    (all - MORE..all).for_each(|i| send(i as u8));
    all
}

/// A setting that gives each stream a window for everything.
const WIDE: &[u8] = &[0, 4, 0x7f, 0, 0, 0];
/// A setting that closes the windows of all streams.
const CLOSED: &[u8] = &[0, 4, 0, 0, 0, 0];

/// A connection with a window for everything, whose streams begin with this setting.
fn connection(name: &str, settings: &[u8]) -> (Fixture, Secure) {
    let config = Config {
        send_buffer_limit: 2 * FILL,
        handshake_timeout: Duration::from_secs(60),
        ping_interval: None,
        ..Config::default()
    };
    let fixture = Fixture::new(name, config);
    let mut client = fixture.connect(settings);
    client.write_all(&h2(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).unwrap();
    (fixture, client)
}

/// A connection whose windows have room for everything. On its first stream, a message that waits has filled
/// the kernel's buffers.
fn full(name: &str) -> (Fixture, Secure) {
    let (fixture, mut client) = connection(name, WIDE);
    let conn = websocket_on(&fixture, &mut client, 1);
    assert_eq!(fixture.server.send(&conn, &vec![0; FILL], true), SendOutcome::Sent);
    fixture.server.flush();
    assert!(!settles(|| conn.buffered_amount()));
    (fixture, client)
}

fn websocket_on(fixture: &Fixture, client: &mut Secure, id: u32) -> Connection {
    client.write_all(&websocket(id)).unwrap();
    found_open(&fixture.server)
}

fn stream_on(fixture: &Fixture, client: &mut Secure, id: u32) -> ResponseStream {
    client.write_all(&h2(HEADERS, END_HEADERS_AND_STREAM, id, &[GET, ROOT].concat())).unwrap();
    let Event::Request { ticket, .. } = next(&fixture.server) else { panic!("a request") };
    fixture.server.stream(ticket, Response { status: 200, headers: vec![], body: Bytes::new() })
}

/// Reads the pieces of three streams, each of which is `prefix` and a byte that counts them.
fn read_all(client: &mut Secure, ids: [u32; 3], counts: [usize; 3], prefix: &[u8]) {
    let expected = counts.map(|n| (0..n).flat_map(|i| [prefix, &[i as u8]].concat()).collect::<Vec<_>>());
    let mut got = [const { Vec::new() }; 3];
    while got.iter().zip(&expected).any(|(got, expected)| got.len() < expected.len()) {
        let (kind, _, id, payload) = next_frame(client);
        if let Some(at) = ids.iter().position(|other| *other == id).filter(|_| kind == DATA) {
            got[at].extend(payload);
        }
    }
    assert!(got == expected, "the pieces arrive in order");
}

/// Sends pieces on three streams, each with `send`, and checks the memory that they occupy. Returns the number
/// of pieces on each stream.
fn check(send: impl Fn(usize) -> usize) -> [usize; 3] {
    let before = memory();
    let counts = [0, 1, 2].map(send);
    let memory = memory().saturating_sub(before);
    println!("{counts:?} pieces on 3 streams wait in {memory} bytes of memory");
    assert!(memory < MOST, "{memory} bytes of memory");
    counts
}

#[test]
fn data_that_waits_in_small_pieces_occupies_little_memory() {
    alone("measured_websockets");
    alone("measured_websockets_without_windows");
    alone("measured_response_streams");
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_websockets() {
    let (fixture, mut client) = full("websockets");
    let (ids, server) = ([3, 5, 7], &fixture.server);
    let conns = ids.map(|id| websocket_on(&fixture, &mut client, id));
    let counts =
        check(|n| send_pieces(|i| send_message(server, &conns[n], i), || conns[n].buffered_amount()));
    read_all(&mut client, ids, counts, &[0x82, 1]);
    // The connection has room again.
    conns.iter().for_each(|conn| send_message(server, conn, 7));
    let mut answered = Vec::new();
    while answered.len() < ids.len() {
        let (kind, _, id, payload) = next_frame(&mut client);
        if ids.contains(&id) {
            assert_eq!((kind, &payload[..]), (DATA, &[0x82, 1, 7][..]));
            answered.push(id);
        }
    }
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_websockets_without_windows() {
    let (fixture, mut client) = connection("windows", CLOSED);
    let ids = [3, 5, 7];
    let conns = ids.map(|id| websocket_on(&fixture, &mut client, id));
    let counts = check(|n| {
        send_pieces(|i| send_message(&fixture.server, &conns[n], i), || conns[n].buffered_amount())
    });
    // Windows for a few frames of one byte, then for everything.
    for id in ids {
        client.write_all(&h2(WINDOW_UPDATE, 0, id, &[0, 0, 0, 1]).repeat(100)).unwrap();
    }
    client.write_all(&h2(SETTINGS, 0, 0, WIDE)).unwrap();
    read_all(&mut client, ids, counts, &[0x82, 1]);
}

fn send_message(server: &Server, conn: &Connection, byte: u8) {
    assert_eq!(server.send(conn, &[byte], true), SendOutcome::Sent);
    server.flush();
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn measured_response_streams() {
    let (fixture, mut client) = full("streams");
    let (ids, server) = ([3, 5, 7], &fixture.server);
    let streams = ids.map(|id| stream_on(&fixture, &mut client, id));
    let write = |stream, i| {
        assert_eq!(server.write_stream(stream, &[i]), SendOutcome::Sent);
        server.flush();
    };
    let counts = check(|n| send_pieces(|i| write(&streams[n], i), || streams[n].buffered_amount()));
    read_all(&mut client, ids, counts, &[]);
}
