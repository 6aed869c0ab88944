//! The first request of a connection may take the fast path of handshakes; later ones never do. Every
//! request must have the same result in both places.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::{Compression, Config, Event, Interest, OriginPattern, Origins, Server, Stats};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;
use support::*;

/// What a request leads to, for the client and for the host.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The response without its date; of a connection that stays open only the head.
    response: String,
    /// What the host learns of the connection, if one opens.
    opened: Option<Opened>,
    /// Status and reason of a refusal.
    refused: Option<(u16, String, bool)>,
    /// Refusals for each cause.
    counts: [u64; 5],
}

/// A connection as the host sees it.
#[derive(Debug, PartialEq)]
struct Opened {
    /// Method, target and version of the request.
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    subprotocol: Option<String>,
}

fn counts(stats: &Stats) -> [u64; 5] {
    [
        stats.bad_requests,
        stats.refused_origin,
        stats.refused_connections,
        stats.refused_per_ip,
        stats.handshake_timeouts,
    ]
}

/// Sends `head` as the first request of a connection, or behind another one.
fn outcome(server: &Server, address: SocketAddr, head: &[u8], is_first: bool) -> Outcome {
    let before = counts(&server.stats());
    let mut client = connect(address);
    if !is_first {
        client.write_all(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert!(read_head(&mut client).contains(" 200 "));
        client.read_exact(&mut [0; 3]).unwrap();
    }
    client.write_all(head).unwrap();
    let mut response = read_head(&mut client);
    let accepted = response.starts_with("HTTP/1.1 101 ");
    if !accepted {
        client.read_to_string(&mut response).unwrap();
    }
    // The time may differ.
    let response: String =
        response.split_inclusive('\n').filter(|line| !line.starts_with("Date: ")).collect();
    let (mut opened, mut refused) = (None, None);
    // Hyper itself answers a head that it cannot parse, and the host does not hear of it.
    let by_hyper = ["not a well-formed HTTP", "head is too large"].iter().any(|text| response.contains(text));
    while opened.is_none() && refused.is_none() && !by_hyper {
        match next(server) {
            Event::Open { request, subprotocol, .. } => {
                assert_eq!(request.remote(), Some(client.local_addr().unwrap()));
                assert_eq!(request.local(), Some(address));
                let line = format!("{} {} {}", request.method(), request.target(), request.version());
                let headers = request.headers().map(|(name, value)| (name.to_owned(), value.to_vec()));
                opened = Some(Opened { line, headers: headers.collect(), subprotocol });
            }
            Event::Refused(event) => refused = Some((event.status, event.reason, event.handshake)),
            _ => {}
        }
    }
    if accepted {
        client.write_all(&frame(0x81, b"hello")).unwrap();
        loop {
            if let Event::Message { payload, .. } = next(server) {
                assert_eq!(payload, "hello");
                break;
            }
        }
    }
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while server.stats().http_sockets + server.stats().connections > 0 {
        assert!(Instant::now() < deadline, "the connection did not end");
        server.next_event();
    }
    let mut after = counts(&server.stats());
    after.iter_mut().zip(before).for_each(|(count, before)| *count -= before);
    Outcome { response, opened, refused, counts: after }
}

fn heads(address: SocketAddr) -> Vec<String> {
    let good = upgrade_head(address, "/chat?room=1", "");
    let with = |more: &str| upgrade_head(address, "/", more);
    let long = |size: usize| with(&format!("X-Long: {}\r\n", "a".repeat(size)));
    let many = |count: usize| with(&(0..count).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>());
    vec![
        good.clone(),
        good.to_lowercase().replacen("get", "GET", 1).replacen("http", "HTTP", 1),
        good.replace("\r\n", "\n"),
        good.replace("Upgrade: websocket", "Upgrade: h2c, WebSocket"),
        good.replace("Connection: Upgrade", "Connection: close, Upgrade"),
        good.replace("Version: 13", "Version: 12"),
        good.replace("Sec-WebSocket-Version: 13\r\n", ""),
        good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"),
        good.replace("Connection: Upgrade", "Connection: close"),
        good.replace("Upgrade: websocket", "Upgrade: h2c"),
        good.replace("GET", "POST"),
        good.replace("HTTP/1.1", "HTTP/1.0"),
        good.replace("HTTP/1.1", "HTTP/1.2"),
        good.replace("/chat?room=1", &format!("http://{address}/x?y")),
        good.replace("/chat?room=1", "http://user@a/x"),
        good.replace("/chat?room=1", "chat"),
        good.replace("/chat?room=1", "*"),
        good.replace("/chat?room=1", "//a/%zz?\"{}"),
        good.replacen("Host: ", "Host: a b", 1),
        good.replacen("Host: ", "Hos: ", 1),
        with("Host: a\r\n"),
        with(&format!("Origin: http://{address}\r\n")),
        with("Origin: http://elsewhere.example\r\n"),
        with("Origin: null\r\n"),
        with("Origin: nonsense\r\n"),
        with("Sec-WebSocket-Protocol: c, b\r\nSec-WebSocket-Protocol: a\r\n"),
        with("Sec-WebSocket-Protocol: c\r\n"),
        with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"),
        with("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\n"),
        with("Sec-WebSocket-Extensions: ;\r\n"),
        with("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n"),
        with("Cookie: a=\u{fc}; b\r\nX-Empty:\r\nX-Tab: a\tb \t\r\n"),
        with("X-Folded: a\r\n b\r\n"),
        with("X-Space : a\r\n"),
        with("X-Nul: \0\r\n"),
        with("Content-Length: 0\r\n"),
        with("Content-Length: 5\r\n"),
        with("Content-Length: 0\r\nContent-Length: 1\r\n"),
        with("Transfer-Encoding: chunked\r\n"),
        with("Expect: 100-continue\r\n"),
        long(5000),
        many(40),
        many(90),
        many(500),
    ]
}

#[test]
fn a_handshake_has_the_same_result_on_the_fast_path_and_behind_another_request() {
    let subprotocols = ["a", "b"].map(str::to_owned).to_vec();
    for config in [
        Config::default(),
        Config { origins: Origins::Any, compression: Some(Compression::default()), ..Config::default() },
        Config {
            origins: Origins::List(vec![OriginPattern::parse("http://elsewhere.example").unwrap()]),
            subprotocols,
            strict_subprotocols: true,
            ..Config::default()
        },
        Config { max_connections: 0, ..Config::default() },
    ] {
        let interest = Interest::REFUSED;
        let (server, address) = start(Config { health_path: Some("/up".to_owned()), interest, ..config });
        for head in heads(address) {
            let first = outcome(&server, address, head.as_bytes(), true);
            let later = outcome(&server, address, head.as_bytes(), false);
            assert_eq!(first, later, "{head}");
        }
    }
}

#[test]
fn a_head_may_arrive_in_any_two_pieces() {
    let (server, address) = start(Config::default());
    let head = upgrade_head(address, "/", "");
    for at in (1..head.len()).step_by(7) {
        let mut client = connect(address);
        client.write_all(&head.as_bytes()[..at]).unwrap();
        // The server may read the pieces together; a second client shows that it has read the first.
        drop(open(address));
        client.write_all(&head.as_bytes()[at..]).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "), "cut at {at}");
        found_open(&server);
    }
}

#[test]
fn a_client_that_ends_its_side_behind_the_head_is_accepted_and_closed() {
    let (server, address) = start(Config::default());
    let mut client: TcpStream = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "));
    opened(&server);
    let Event::Close { code, .. } = next(&server) else { panic!() };
    assert_eq!(code, 1006);
}
