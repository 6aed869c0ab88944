//! permessage-deflate (RFC 7692), tested byte by byte on a raw socket.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]
mod support;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress};
use sprocket_server::{Compression, Config, Event, SendOutcome, Server};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use support::*;

/// The compressed "Hello" of RFC 7692 section 7.2.3.1.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn config(compression: Compression) -> Config {
    Config { compression: Some(compression), ..Config::default() }
}

fn shared() -> Config {
    config(Compression::default())
}

fn takeover() -> Config {
    config(Compression { context_takeover: true, ..Compression::default() })
}

/// Opens a connection with this offer and returns the server's answer to it.
fn offer(address: SocketAddr, offer: &str) -> (TcpStream, Option<String>) {
    let mut stream = connect(address);
    let header = format!("Sec-WebSocket-Extensions: {offer}\r\n");
    stream.write_all(upgrade_head(address, "/", &header).as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let answer = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-extensions").then(|| value.to_owned())
    });
    (stream, answer)
}

fn negotiated(address: SocketAddr) -> TcpStream {
    let (stream, answer) = offer(address, "permessage-deflate; client_max_window_bits");
    assert!(answer.unwrap().starts_with("permessage-deflate"));
    stream
}

fn message(server: &Server) -> (Vec<u8>, bool) {
    match next(server) {
        Event::Message { payload, binary, .. } => (payload.to_vec(), binary),
        other => panic!("{other:?}"),
    }
}

fn closed(server: &Server) -> (u16, String) {
    match next(server) {
        Event::Close { code, reason, .. } => (code, reason),
        other => panic!("{other:?}"),
    }
}

/// Compresses a message as a client does: flushed, without the last four bytes.
fn deflate(codec: &mut Compress, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    codec.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.len() < out.capacity());
    assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xff, 0xff]);
    out
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    deflate(&mut Compress::new(flate2::Compression::best(), false), payload)
}

fn inflate(codec: &mut Decompress, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    for part in [payload, &[0, 0, 0xff, 0xff]] {
        codec.decompress_vec(part, &mut out, FlushDecompress::Sync).unwrap();
    }
    out
}

fn inflated(payload: &[u8]) -> Vec<u8> {
    inflate(&mut Decompress::new(false), payload)
}

/// Generates a compressible text that differs for each number.
fn text(number: usize) -> String {
    (0..200).map(|n| format!("{{\"id\":{n},\"room\":{number}}},")).collect()
}

/// Generates pseudo-random bytes, which hardly compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

#[test]
fn off_by_default() {
    let (server, address) = start(Config::default());
    let (mut client, answer) = offer(address, "permessage-deflate");
    assert_eq!(answer, None);
    let conn = opened(&server);
    server.send(&conn, text(1).as_bytes(), false);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, text(1).into_bytes()));
    client.write_all(&frame(0xc1, HELLO)).unwrap();
    assert_eq!(closed(&server).0, 1002);
}

#[test]
fn a_client_that_does_not_offer_it_gets_none() {
    let (server, address) = start(shared());
    let mut client = open(address);
    let conn = opened(&server);
    server.send(&conn, text(1).as_bytes(), false);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, text(1).into_bytes()));
    client.write_all(&frame(0xc1, HELLO)).unwrap();
    assert_eq!(closed(&server).0, 1002);
}

#[test]
fn small_messages_sent_together_are_compressed_one_by_one() {
    let compression = Compression { context_takeover: true, threshold: 0, ..Compression::default() };
    let (server, address) = start(config(compression));
    let mut client = negotiated(address);
    let conn = opened(&server);
    let payload = |i: usize| text(i).as_bytes()[..i * 9].to_vec();
    for i in 0..100 {
        assert_eq!(server.send(&conn, &payload(i), false), SendOutcome::Sent);
    }
    server.flush();
    let mut codec = Decompress::new(false);
    let mut compressed = 0;
    for i in 0..100 {
        match read_frame(&mut client) {
            (0xc1, data) => {
                compressed += 1;
                assert!(inflate(&mut codec, &data) == payload(i), "message {i}");
            }
            (first, data) => assert!((first, data) == (0x81, payload(i)), "message {i}"),
        }
    }
    assert!(compressed > 50);
    pump(&server, |_, event| panic!("{event:?}"), || conn.buffered_amount() == 0);
}

#[test]
fn the_answer_matches_the_offer() {
    let (_shared, shared) = start(shared());
    let (_takeover, takeover) = start(takeover());
    for (address, offered, expected) in [
        (
            shared,
            "permessage-deflate; client_max_window_bits",
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        ),
        (takeover, "permessage-deflate; client_max_window_bits", Some("permessage-deflate")),
        (
            takeover,
            "permessage-deflate; server_max_window_bits=10; client_no_context_takeover",
            Some("permessage-deflate; client_no_context_takeover; server_max_window_bits=10"),
        ),
        (
            takeover,
            "permessage-deflate; server_max_window_bits=7, permessage-deflate; server_max_window_bits=9",
            Some("permessage-deflate; server_max_window_bits=9"),
        ),
        (takeover, "permessage-deflate; server_no_context_takeover; server_no_context_takeover", None),
        (takeover, "permessage-brotli", None),
    ] {
        assert_eq!(offer(address, offered).1.as_deref(), expected, "{offered}");
    }
}

#[test]
fn a_malformed_header_fails_the_handshake() {
    let (_server, address) = start(shared());
    for header in
        ["permessage-deflate; =", "permessage-deflate; a=\"", "permessage-deflate permessage-deflate"]
    {
        let head = upgrade_head(address, "/", &format!("Sec-WebSocket-Extensions: {header}\r\n"));
        let answer = exchange(address, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{header}: {answer}");
        assert!(answer.contains("Sec-WebSocket-Extensions"), "{header}: {answer}");
    }
}

#[test]
fn the_examples_of_the_rfc_are_decoded() {
    let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let two_blocks = [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    for config in [shared(), takeover()] {
        let (server, address) = start(config);
        let mut client = negotiated(address);
        opened(&server);
        for payload in [HELLO, &stored, &last_block, &two_blocks, &last_block, HELLO] {
            client.write_all(&frame(0xc1, payload)).unwrap();
            assert_eq!(message(&server), (b"Hello".to_vec(), false), "{payload:x?}");
        }
        // The message in two frames, split at every position, with a control frame between them.
        for cut in 0..=HELLO.len() {
            client.write_all(&frame(0x42, &HELLO[..cut])).unwrap();
            client.write_all(&frame(0x89, b"ping")).unwrap();
            client.write_all(&frame(0x80, &HELLO[cut..])).unwrap();
            assert_eq!(message(&server), (b"Hello".to_vec(), true), "cut {cut}");
            assert_eq!(read_frame(&mut client), (0x8a, b"ping".to_vec()));
        }
        // An empty message, and an uncompressed one.
        client.write_all(&frame(0xc1, &[0])).unwrap();
        assert_eq!(message(&server), (vec![], false));
        client.write_all(&frame(0x81, b"plain")).unwrap();
        assert_eq!(message(&server), (b"plain".to_vec(), false));
        client.write_all(&frame(0x01, b"pl")).unwrap();
        client.write_all(&frame(0x80, b"ain")).unwrap();
        assert_eq!(message(&server), (b"plain".to_vec(), false));
    }
}

#[test]
fn a_client_may_refer_to_its_earlier_messages_only_with_takeover() {
    let (server, address) = start(takeover());
    let mut client = negotiated(address);
    opened(&server);
    // RFC 7692 section 7.2.3.2: the second "Hello" refers to the first one.
    for payload in [HELLO, &[0xf2, 0x00, 0x11, 0x00, 0x00]] {
        client.write_all(&frame(0xc1, payload)).unwrap();
        assert_eq!(message(&server), (b"Hello".to_vec(), false));
    }
    let mut codec = Compress::new(flate2::Compression::best(), false);
    let (server, address) = start(takeover());
    let mut client = negotiated(address);
    opened(&server);
    for number in 0..50 {
        let payload = text(number % 7);
        client.write_all(&frame(0xc1, &deflate(&mut codec, payload.as_bytes()))).unwrap();
        assert_eq!(message(&server), (payload.into_bytes(), false));
    }

    let (server, address) = start(shared());
    let mut client = negotiated(address);
    opened(&server);
    client.write_all(&frame(0xc1, HELLO)).unwrap();
    assert_eq!(message(&server).0, b"Hello");
    client.write_all(&frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00])).unwrap();
    assert_eq!(closed(&server), (1007, "invalid compressed data".into()));
}

#[test]
fn messages_arrive_intact_for_any_split_of_the_stream() {
    let payloads =
        [text(1).into_bytes(), noise(100_000), vec![b'a'; 600_000], b"x".to_vec(), text(2).into_bytes()];
    let mut stream = Vec::new();
    for payload in &payloads {
        let packed = deflated(payload);
        let (head, tail) = packed.split_at(packed.len() / 3);
        stream.extend(frame(0x42, head));
        stream.extend(frame(0x8a, b"a pong"));
        stream.extend(frame(0x00, b""));
        stream.extend(frame(0x80, tail));
    }
    for step in [1, 7, 1000, 70_000] {
        // Only the start is sent byte by byte, since each byte costs a system call.
        let slow = if step == 1 { 3000 } else { stream.len() };
        let (server, address) = start(shared());
        let mut client = negotiated(address);
        client.set_nodelay(true).unwrap();
        opened(&server);
        let bytes = stream.clone();
        let writer = std::thread::spawn(move || {
            bytes[..slow].chunks(step).for_each(|piece| client.write_all(piece).unwrap());
            client.write_all(&bytes[slow..]).unwrap();
            client
        });
        for payload in &payloads {
            let (received, binary) = message(&server);
            assert!(binary && received == *payload, "step {step}, {} bytes", payload.len());
        }
        writer.join().unwrap();
    }
}

#[test]
fn protocol_violations_are_refused() {
    let hidden: Vec<u8> = [frame(0x42, &HELLO[..3]), frame(0xc1, HELLO)].concat();
    for (bytes, code, words) in [
        (frame(0xc9, b""), 1002, "reserved bit 1"),
        (frame(0xc8, b""), 1002, "reserved bit 1"),
        ([frame(0x42, HELLO), frame(0xc0, b"")].concat(), 1002, "reserved bit 1"),
        ([frame(0x01, b"a"), frame(0xc0, b"")].concat(), 1002, "reserved bit 1"),
        (frame(0xa1, b"a"), 1002, "reserved bits"),
        (frame(0xe1, HELLO), 1002, "reserved bits"),
        (frame(0xd2, HELLO), 1002, "reserved bits"),
        (frame(0xc3, HELLO), 1002, "reserved"),
        (hidden, 1002, "new message inside"),
        ([frame(0x41, HELLO), frame(0x81, b"x")].concat(), 1002, "new message inside"),
        (frame(0x80, b"x"), 1002, "continuation"),
        ([&[0xc1, HELLO.len() as u8], HELLO].concat(), 1002, "not masked"),
        (frame(0xc1, &[0xff; 20]), 1007, "invalid compressed data"),
        // A reference to data before the start of the message.
        (frame(0xc1, &[0xf2, 0x00, 0x11, 0x00, 0x00]), 1007, "invalid compressed data"),
        (frame(0xc1, &deflated(b"caf\xe9 au lait")), 1007, "UTF-8"),
        // A text that ends inside a character.
        (frame(0xc1, &deflated(b"euro \xe2\x82")), 1007, "UTF-8"),
    ] {
        let (server, address) = start(shared());
        let mut client = negotiated(address);
        opened(&server);
        // Messages before the error are delivered.
        client.write_all(&[frame(0xc1, HELLO), bytes.clone()].concat()).unwrap();
        assert_eq!(message(&server).0, b"Hello", "{bytes:x?}");
        let (got, reason) = closed(&server);
        assert!(got == code && reason.contains(words), "{bytes:x?}: {got} {reason}");
        assert_eq!(read_close(&mut client).0, code, "{bytes:x?}");
    }
}

#[test]
fn invalid_text_is_detected_before_the_message_ends() {
    let (server, address) = start(shared());
    let mut client = negotiated(address);
    opened(&server);
    let bad = [&vec![b'a'; 5000][..], b"\xff", &noise(100_000)].concat();
    let packed = deflated(&bad);
    client.write_all(&frame(0x41, &packed[..packed.len() / 2])).unwrap();
    assert_eq!(closed(&server), (1007, "text is not valid UTF-8".into()));
}

#[test]
fn the_inflated_size_is_limited() {
    let limited = Config { max_message_size: 100_000, ..shared() };
    for parts in [1, 5] {
        let (server, address) = start(limited.clone());
        let mut client = negotiated(address);
        opened(&server);
        let fits = deflated(&vec![0; 100_000]);
        client.write_all(&frame(0xc2, &fits)).unwrap();
        assert_eq!(message(&server).0.len(), 100_000);
        let big = deflated(&vec![0; 100_001]);
        let pieces = big.chunks(big.len().div_ceil(parts)).enumerate();
        let bytes: Vec<u8> = pieces
            .flat_map(|(n, piece)| {
                let fin = if n + 1 == parts { 0x80 } else { 0 };
                frame(fin | if n == 0 { 0x42 } else { 0 }, piece)
            })
            .collect();
        client.write_all(&bytes).unwrap();
        let (code, reason) = closed(&server);
        assert!(code == 1009 && reason.contains("100000"), "{code} {reason}");
        assert_eq!(server.stats().too_big, 1);
    }
    // Compressed bytes without any content.
    let (server, address) = start(limited);
    let mut client = negotiated(address);
    opened(&server);
    let nothing = [0, 0, 0, 0xff, 0xff].repeat(50_000);
    client.write_all(&frame(0xc2, &nothing)).unwrap();
    assert_eq!(closed(&server).0, 1009);
}

#[test]
fn messages_are_compressed_if_they_shrink() {
    let (server, address) = start(shared());
    let mut client = negotiated(address);
    let conn = opened(&server);
    let just_under = "a".repeat(1023);
    for payload in [text(1).into_bytes(), vec![b'a'; 1024], vec![b'b'; 900_000], text(2).into_bytes()] {
        for binary in [false, true] {
            assert_eq!(server.send(&conn, &payload, binary), SendOutcome::Sent);
            server.flush();
            let (first, packed) = read_frame(&mut client);
            assert_eq!(first, if binary { 0xc2 } else { 0xc1 });
            assert!(packed.len() < payload.len() / 4, "{} of {}", packed.len(), payload.len());
            // Each message can be decompressed on its own.
            assert!(inflated(&packed) == payload);
        }
    }
    for payload in [b"".to_vec(), just_under.into_bytes(), noise(5000)] {
        server.send(&conn, &payload, true);
        server.flush();
        assert_eq!(read_frame(&mut client), (0x82, payload));
    }
    server.ping(&conn, b"ping");
    server.flush();
    assert_eq!(read_frame(&mut client), (0x89, b"ping".to_vec()));
    let waiting = Instant::now();
    while conn.buffered_amount() > 0 {
        assert!(waiting.elapsed() < PATIENCE, "{} bytes stay buffered", conn.buffered_amount());
        std::thread::yield_now();
    }
}

#[test]
fn the_configured_threshold_applies() {
    let (server, address) = start(config(Compression { threshold: 0, level: 9, ..Compression::default() }));
    let mut client = negotiated(address);
    let conn = opened(&server);
    server.send(&conn, b"aaaaaaaaaaaaaaaaaaaa", false);
    server.send(&conn, b"", false);
    server.flush();
    let (first, packed) = read_frame(&mut client);
    assert_eq!((first, &inflated(&packed)[..]), (0xc1, &b"aaaaaaaaaaaaaaaaaaaa"[..]));
    assert_eq!(read_frame(&mut client), (0x81, vec![]));
}

#[test]
fn the_servers_window_is_kept_only_with_takeover() {
    let sizes = |config: Config, offered: &str| {
        let (server, address) = start(config);
        let mut client = offer(address, offered).0;
        let conn = opened(&server);
        let mut codec = Decompress::new(false);
        let payload = noise(2000).iter().map(|b| b'a' + (b & 15)).collect::<Vec<u8>>();
        [(); 3].map(|()| {
            server.send(&conn, &payload, true);
            server.flush();
            let (first, packed) = read_frame(&mut client);
            assert_eq!(first, 0xc2);
            assert!(inflate(&mut codec, &packed) == payload);
            packed.len()
        })
    };
    let kept = sizes(takeover(), "permessage-deflate");
    assert!(kept[1] < kept[0] / 4 && kept[2] < kept[0] / 4, "{kept:?}");
    let asked = sizes(takeover(), "permessage-deflate; server_no_context_takeover");
    assert!(asked[1] == asked[0] && asked[2] == asked[0], "{asked:?}");
    let shared = sizes(shared(), "permessage-deflate");
    assert!(shared[1] == shared[0] && shared[2] == shared[0], "{shared:?}");
}

#[test]
fn the_windows_have_the_negotiated_size() {
    // A window of 10 bits does not reach back 5000 bytes.
    let unit = noise(5000);
    let payload = [&unit[..], &unit, &[b'a'; 4000]].concat();
    for (bits, reaches) in [(15, true), (10, false), (9, false)] {
        for config in [shared(), takeover()] {
            let (server, address) = start(config);
            let mut client = offer(address, &format!("permessage-deflate; server_max_window_bits={bits}")).0;
            let conn = opened(&server);
            server.send(&conn, &payload, true);
            server.flush();
            let (first, packed) = read_frame(&mut client);
            assert_eq!(first, 0xc2);
            assert_eq!(packed.len() < 9000, reaches, "{bits} bits, {} bytes", packed.len());
            assert!(inflate(&mut Decompress::new_with_window_bits(false, bits), &packed) == payload);
        }
    }
    // zlib does not support a window of 8 bits: the server sends uncompressed messages and accepts
    // compressed ones.
    let (server, address) = start(takeover());
    let (mut client, answer) = offer(address, "permessage-deflate; server_max_window_bits=8");
    assert_eq!(answer.unwrap(), "permessage-deflate; server_max_window_bits=8");
    let conn = opened(&server);
    server.send(&conn, text(1).as_bytes(), false);
    server.flush();
    assert_eq!(read_frame(&mut client), (0x81, text(1).into_bytes()));
    client.write_all(&frame(0xc1, HELLO)).unwrap();
    assert_eq!(message(&server).0, b"Hello");
}

#[test]
fn windows_beyond_the_memory_limit_are_not_kept() {
    let (server, address) = start(config(Compression {
        context_takeover: true,
        max_context_memory: 500_000,
        ..Compression::default()
    }));
    let (first, answer) = offer(address, "permessage-deflate");
    assert_eq!(answer.unwrap(), "permessage-deflate");
    opened(&server);
    let without = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    let (mut second, answer) = offer(address, "permessage-deflate");
    assert_eq!(answer.unwrap(), without);
    let conn = opened(&server);
    server.send(&conn, text(1).as_bytes(), false);
    server.flush();
    assert_eq!(inflated(&read_frame(&mut second).1), text(1).into_bytes());
    // The memory of a closed connection becomes available again.
    drop(first);
    assert_eq!(closed(&server).0, 1006);
    let deadline = Instant::now() + PATIENCE;
    while offer(address, "permessage-deflate").1.unwrap() == without {
        assert!(Instant::now() < deadline, "the memory is not given back");
    }
}

#[test]
fn a_publication_is_compressed_once_for_all_connections() {
    let (server, address) = start(takeover());
    let offers = [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_max_window_bits=8",
        "unknown",
    ];
    let mut clients: Vec<_> = offers.iter().map(|o| offer(address, o).0).collect();
    let conns: Vec<_> = offers.iter().map(|_| opened(&server)).collect();
    conns.iter().for_each(|conn| server.subscribe(conn, "room").unwrap());
    let mut codecs: Vec<_> = offers.iter().map(|_| Decompress::new(false)).collect();
    for round in 0..4 {
        // Each connection receives a message of its own between publications, so that their windows
        // differ.
        for ((n, conn), (client, codec)) in conns.iter().enumerate().zip(clients.iter_mut().zip(&mut codecs))
        {
            let own = text(n + 10 * round);
            server.send(conn, own.as_bytes(), false);
            server.flush();
            let (first, payload) = read_frame(client);
            let plain = if first == 0xc1 { inflate(codec, &payload) } else { payload };
            assert_eq!(String::from_utf8(plain).unwrap(), own);
            assert_eq!(first == 0xc1, n < 4, "{}", offers[n]);
        }
        let news = text(1000 + round);
        if round % 2 == 0 {
            server.publish("room", news.as_bytes(), false, None).unwrap();
        } else {
            server.broadcast(news.as_bytes(), false, None).unwrap();
        }
        server.flush();
        let frames: Vec<_> = clients.iter_mut().map(read_frame).collect();
        for ((first, payload), codec) in frames[..4].iter().zip(&mut codecs) {
            assert_eq!(*first, 0xc1);
            assert_eq!(inflate(codec, payload), news.as_bytes());
        }
        assert!(frames[0] == frames[1] && frames[0] == frames[2], "the same bytes for the same window");
        assert_eq!(frames[4], (0x81, news.clone().into_bytes()));
        assert_eq!(frames[5], (0x81, news.into_bytes()));
    }
    for conn in &conns {
        let waiting = Instant::now();
        while conn.buffered_amount() > 0 {
            assert!(waiting.elapsed() < PATIENCE, "{} bytes stay buffered", conn.buffered_amount());
            std::thread::yield_now();
        }
    }
}

#[test]
fn input_that_inflates_to_much_waits_for_the_host() {
    let (server, address) = start(Config { max_pending_bytes: 1 << 20, ..shared() });
    let mut client = negotiated(address);
    opened(&server);
    // One write of about 70 KB that inflates to 64 MiB.
    let payload = vec![b'z'; 1 << 20];
    let one = frame(0xc2, &deflated(&payload));
    client.write_all(&one.repeat(64)).unwrap();
    client.write_all(&frame(0xc1, HELLO)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while server.stats().paused == 0 {
        assert!(Instant::now() < deadline, "the socket is read on");
        std::thread::yield_now();
    }
    let arrived = server.stats().messages_in;
    assert!(arrived <= 2, "{arrived} messages wait");
    for _ in 0..64 {
        assert!(message(&server).0 == payload);
    }
    assert_eq!(message(&server).0, b"Hello");
    // A close frame takes effect after the messages that wait before it.
    client.write_all(&[one.repeat(8), close_frame(1000, "")].concat()).unwrap();
    for _ in 0..8 {
        assert!(message(&server).0 == payload);
    }
    assert_eq!(closed(&server).0, 1000);
}

#[test]
fn reading_stops_at_the_message_at_which_the_credit_ends() {
    let (server, address) = start(Config { max_pending_messages: 16, ..shared() });
    let mut client = negotiated(address);
    opened(&server);
    // All messages together inflate to less than one step of the decoder. The invalid frame comes after
    // them.
    let input = [frame(0xc1, HELLO).repeat(1000), frame(0xb1, b"reserved bits")].concat();
    client.write_all(&input).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while server.stats().paused == 0 {
        assert!(Instant::now() < deadline, "the socket is read on");
        std::thread::yield_now();
    }
    assert_eq!(server.stats().messages_in, 16);
    for _ in 0..1000 {
        assert_eq!(message(&server).0, b"Hello");
    }
    assert_eq!(closed(&server).0, 1002);
    assert_eq!(server.stats().pending_total, 0);
}

#[test]
fn the_answer_to_the_servers_close_follows_pending_messages() {
    let (server, address) = start(Config { max_pending_bytes: 1 << 20, ..shared() });
    let mut client = negotiated(address);
    let conn = opened(&server);
    let one = frame(0xc2, &deflated(&vec![b'z'; 1 << 20]));
    client.write_all(&one.repeat(16)).unwrap();
    assert_eq!(message(&server).0.len(), 1 << 20);
    assert!(server.close(&conn, 1000, "enough"));
    server.flush();
    assert_eq!(read_close(&mut client), (1000, "enough".into()));
    client.write_all(&close_frame(1000, "")).unwrap();
    assert_eq!(closed(&server).0, 1000);
    assert!(at_end(&mut client));
}

#[test]
fn every_thread_has_its_own_codecs() {
    let (server, address) = start(Config { io_threads: 3, ..shared() });
    let mut clients: Vec<_> = (0..9).map(|_| negotiated(address)).collect();
    for _ in &clients {
        let conn = opened(&server);
        server.subscribe(&conn, "room").unwrap();
    }
    for round in 0..5 {
        let news = text(round);
        server.publish("room", news.as_bytes(), false, None).unwrap();
        server.flush();
        for client in &mut clients {
            assert_eq!(inflated(&read_frame(client).1), news.as_bytes());
        }
    }
}

/// Input is small and its messages are large: a full backlog stops decoding, not only reading.
#[test]
fn a_full_backlog_stops_the_decoding_of_compressed_messages() {
    const LIMIT: u64 = 1 << 20;
    const CLIENTS: usize = 20;
    const MESSAGES: usize = 40;
    const LENGTH: usize = 64 << 10;
    // An eighth over the limit, and what one turn inflates beyond it.
    const MOST: u64 = LIMIT + LIMIT / 8 + (256 << 10);
    let (server, address) = start(Config { max_pending_total: LIMIT as usize, ..shared() });
    let message = frame(0xc2, &deflated(&[0; LENGTH]));
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = negotiated(address);
            opened(&server);
            client
        })
        .collect();
    for client in &mut clients {
        client.write_all(&message.repeat(MESSAGES)).unwrap();
    }
    let begun = Instant::now();
    while server.stats().pending_full == 0 {
        assert!(begun.elapsed() < PATIENCE, "the backlog does not fill");
        std::thread::yield_now();
    }
    for _ in 0..CLIENTS * MESSAGES {
        let pending = server.stats().pending_total;
        assert!(pending <= MOST, "{pending} bytes wait");
        assert_eq!(self::message(&server).0.len(), LENGTH);
    }
    assert_eq!(server.stats().pending_total, 0);
}
