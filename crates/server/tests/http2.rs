//! HTTP/2, tested byte by byte: memory that connections may use, and malformed requests.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

#[path = "support/http2.rs"]
mod http2;
mod support;
#[path = "support/secure.rs"]
mod tls;

use bytes::Bytes;
use http2::*;
use sprocket_server::{Config, Decision, Event, Interest, Response, Server};
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use support::*;
use tls::{Secure, secure};

#[test]
fn heads_whose_bodies_never_arrive_are_limited_in_total() {
    const TOTAL: usize = 4 << 20;
    let fixture = Fixture::new("heads", Config { max_pending_total: TOTAL, ..Config::default() });
    // One header of 3.6 KB, to which each request refers four times.
    let first = [POST, ROOT, &literal(0x40, "x-a", &[b'v'; 3600]), b"\xbe\xbe\xbe"].concat();
    let other = [POST, ROOT, b"\xbe\xbe\xbe\xbe"].concat();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = fixture.connect(&[]);
        client.write_all(&h2(HEADERS, END_HEADERS, 1, &first)).unwrap();
        let more = (1..128).flat_map(|n| h2(HEADERS, END_HEADERS, 2 * n + 1, &other));
        client.write_all(&more.collect::<Vec<_>>()).unwrap();
        assert!(is_alive(&mut client));
        clients.push(client);
    }
    fixture.wait_for("most are refused", || fixture.server.stats().refused_pending > 300);
    let waits = fixture.server.stats().pending_total as usize;
    // The sum also contains some refusals that are being sent.
    assert!(waits > TOTAL / 4 && waits < TOTAL / 2 + (64 << 10), "{waits} bytes");
    drop(clients);
    fixture.wait_for("they no longer count", || fixture.server.stats().pending_total == 0);
}

#[test]
fn messages_that_wait_for_the_host_pause_their_connections_without_loss() {
    const TOTAL: usize = 1 << 20;
    const STREAMS: u32 = 12;
    const MESSAGES: usize = 120;
    const PING: Duration = Duration::from_millis(300);
    let fixture = Fixture::new(
        "halt",
        Config {
            max_pending_total: TOTAL,
            max_pending_messages: 1,
            ping_interval: Some(PING),
            ping_timeout: PING,
            ..Config::default()
        },
    );
    // DATA frames of 40 bytes, alternating between all streams.
    let stream = frame(0x82, &[7; 500]).repeat(MESSAGES);
    let ids = || (1..=STREAMS).map(|n| 2 * n + 1);
    let pieces = stream.chunks(40).flat_map(|piece| ids().flat_map(move |id| h2(DATA, 0, id, piece)));
    let bytes = [ids().flat_map(websocket).collect::<Vec<_>>(), pieces.collect()].concat();
    let clients = [0, 1].map(|_| {
        let mut client = fixture.connect(&[]);
        // An idle stream of the same connection: it gets no input while the messages of the others
        // pause the connection.
        client.write_all(&websocket(1)).unwrap();
        client.write_all(&bytes).unwrap();
        client
    });
    let pending = || fixture.server.stats().pending_total;
    fixture.wait_for("input is held", || pending() > TOTAL as u64 / 10);
    let end = Instant::now() + 4 * PING;
    while Instant::now() < end {
        // The bound is an eighth of the limit, the events, and the input of one turn of each
        // connection.
        assert!(pending() < (TOTAL / 8 + 26 * 4000 + 2 * (96 << 10)) as u64, "{} bytes", pending());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(
        fixture.server.stats().connections,
        u64::from(2 * STREAMS + 2),
        "no connection is cut meanwhile"
    );
    let mut got = 0;
    let count = |_: &Server, event| got += usize::from(matches!(event, Event::Message { .. }));
    let all = u64::from(2 * STREAMS) * MESSAGES as u64;
    pump(&fixture.server, count, || fixture.server.stats().messages_in == all);
    pump(
        &fixture.server,
        |_, event| got += usize::from(matches!(event, Event::Message { .. })),
        || fixture.server.stats().pending_messages == 0,
    );
    assert_eq!(got as u64, all);
    drop(clients);
}

#[test]
fn a_client_that_sends_before_its_handshake_ends_is_reset() {
    /// ENHANCE_YOUR_CALM.
    const CALM: [u8; 4] = [0, 0, 0, 0x0b];
    let fixture = Fixture::new("early", Config::default());
    fixture.server.set_interest(Interest::UPGRADE, true);
    let mut client = fixture.connect(&[]);
    // A short early message is tolerated.
    client.write_all(&[websocket(1), h2(DATA, 0, 1, &frame(0x82, &[7; 1000]))].concat()).unwrap();
    let Event::Upgrade { ticket, .. } = next(&fixture.server) else { panic!() };
    client.write_all(&[websocket(3), h2(DATA, 0, 3, &[7; 9000])].concat()).unwrap();
    assert_eq!(next_of(&mut client, 3), (RST_STREAM, CALM.to_vec()));
    // The first request still counts.
    fixture.wait_for("the early input no longer counts", || fixture.server.stats().pending_total < 9000);
    assert!(fixture.server.decide(ticket, Decision::Accept { subprotocol: None, headers: vec![] }));
    fixture.server.flush();
    pump(&fixture.server, |_, _| {}, || fixture.server.stats().messages_in == 1);
    assert!(is_alive(&mut client));
}

/// Opens a client that requests responses with flow-control windows for all of them and never reads its
/// socket.
fn asks_and_reads_nothing(fixture: &Fixture, first: &[u8]) -> Secure {
    let mut client = fixture.connect(&[0, 4, 0x7f, 0xff, 0xff, 0xff]);
    socket2::SockRef::from(&client.sock).set_recv_buffer_size(4096).unwrap();
    client.write_all(&h2(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0])).unwrap();
    client.write_all(first).unwrap();
    let get = [GET, ROOT].concat();
    let gets = (1..=120).flat_map(|n| h2(HEADERS, END_HEADERS_AND_STREAM, 2 * n + 1, &get));
    client.write_all(&gets.collect::<Vec<_>>()).unwrap();
    client
}

/// Answers a request. 120 responses exceed the kernel's buffers; a single one is small enough for the
/// HTTP library to accept it as a whole.
fn respond(server: &Server, event: Event) {
    if let Event::Request { ticket, .. } = event {
        server.respond(ticket, Response { status: 200, headers: vec![], body: vec![0; 60_000].into() });
        server.flush();
    }
}

#[test]
fn unread_responses_end_their_connection() {
    let config = Config { handshake_timeout: Duration::from_millis(400), ..Config::default() };
    let fixture = Fixture::new("unread", config);
    let client = asks_and_reads_nothing(&fixture, &[]);
    pump(&fixture.server, respond, || fixture.server.stats().http_requests == 120);
    pump(&fixture.server, respond, || fixture.server.stats().http_sockets == 0);
    drop(client);
}

#[test]
fn unread_responses_beside_a_websocket_count_until_they_are_dropped() {
    let config = Config { handshake_timeout: Duration::from_millis(1500), ..Config::default() };
    let fixture = Fixture::new("beside", config);
    let client = asks_and_reads_nothing(&fixture, &websocket(1));
    let pending = || fixture.server.stats().pending_total;
    // Far more than 120 requests need without their responses.
    pump(&fixture.server, respond, || pending() > 1 << 20);
    pump(&fixture.server, respond, || fixture.server.stats().http_requests == 120);
    pump(&fixture.server, respond, || pending() == 0);
    assert_eq!(fixture.server.stats().connections, 1, "the WebSocket lives on");
    drop(client);
}

#[test]
fn an_unparsable_target_resets_only_its_own_stream() {
    let fixture = Fixture::new("targets", Config::default());
    let mut client = fixture.connect(&[]);
    let mut id = 1;
    for malformed in [
        [b"\x82\x87\x01\x01a", &literal(0, ":path", b"/a b")[..]].concat(),
        [b"\x82\x87\x01\x01a", &literal(0, ":path", b"a")[..]].concat(),
        [b"\x82\x87\x84", &literal(0, ":authority", b"a b")[..]].concat(),
        [b"\x82\x87\x84", &literal(0, ":authority", b"[::1")[..]].concat(),
    ] {
        client.write_all(&h2(HEADERS, END_HEADERS_AND_STREAM, id, &malformed)).unwrap();
        // PROTOCOL_ERROR (RFC 9113 section 8.1.1).
        assert_eq!(next_of(&mut client, id), (RST_STREAM, vec![0, 0, 0, 1]), "{malformed:?}");
        assert!(is_alive(&mut client));
        id += 2;
    }
    client.write_all(&h2(HEADERS, END_HEADERS_AND_STREAM, id, &[GET, ROOT].concat())).unwrap();
    let Event::Request { request, .. } = next(&fixture.server) else { panic!() };
    assert_eq!(request.target(), "/", "the connection lives on");
}

#[test]
fn a_fragment_is_refused_in_a_first_request_and_otherwise_not_part_of_the_target() {
    let fixture = Fixture::new("fragment", Config::default());
    let mut client = fixture.connect(&[]);
    let get = [GET, &literal(0, ":path", b"/a?b#c")].concat();
    client.write_all(&h2(HEADERS, END_HEADERS_AND_STREAM, 1, &get)).unwrap();
    let Event::Request { request, .. } = next(&fixture.server) else { panic!() };
    assert_eq!(request.target(), "/a?b");
    let mut client = secure(fixture.address, fixture.authority.client(), "localhost");
    client
        .write_all(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    for expected in ["/first", "/a?b"] {
        let Event::Request { ticket, request, .. } = next(&fixture.server) else { panic!() };
        assert_eq!(request.target(), expected);
        fixture.server.respond(ticket, Response { status: 200, headers: vec![], body: Bytes::new() });
        fixture.server.flush();
    }
    let refused = fixture.server.stats().bad_requests;
    let mut client = secure(fixture.address, fixture.authority.client(), "localhost");
    client.write_all(b"GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    fixture.wait_for("the refusal is counted", || fixture.server.stats().bad_requests == refused + 1);
}
