//! HTTP/1.1, tested byte by byte: the exact form of the handshake response, and the order of responses.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use bytes::Bytes;
use sprocket_server::{Config, Decision, Event, Interest, Response, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use support::*;

#[test]
fn the_handshake_response_has_the_form_of_the_rfc() {
    let (server, address) = start(Config { subprotocols: vec!["v1".to_owned()], ..Config::default() });
    server.set_interest(Interest::UPGRADE, true);
    for connection in ["Upgrade", "keep-alive, Upgrade", "close, Upgrade", "Upgrade\r\nConnection: close"] {
        let request = upgrade_head(address, "/", "Sec-WebSocket-Protocol: v1\r\n");
        let request = request.replace("Connection: Upgrade", &format!("Connection: {connection}"));
        let mut client = connect(address);
        client.write_all(request.as_bytes()).unwrap();
        let ticket = loop {
            if let Event::Upgrade { ticket, .. } = next(&server) {
                break ticket;
            }
        };
        let headers = [("X-myOwn", "1"), ("Set-Cookie", "a=b")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        server.decide(ticket, Decision::Accept { subprotocol: None, headers: headers.to_vec() });
        server.flush();
        assert_eq!(
            read_head(&mut client),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v1\r\n\
             X-myOwn: 1\r\nSet-Cookie: a=b\r\n\r\n"
        );
        let conn = found_open(&server);
        server.send(&conn, b"hello", false);
        server.flush();
        assert_eq!(text(&mut client), "hello");
    }
}

/// Answers requests with `body` until the client has finished.
fn serve_to<R: Send>(server: &Server, body: &[u8], client: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let client = scope.spawn(client);
        pump(
            server,
            |server, event| {
                if let Event::Request { ticket, .. } = event {
                    let body = Bytes::copy_from_slice(body);
                    server.respond(ticket, Response { status: 200, headers: vec![], body });
                }
            },
            || client.is_finished(),
        );
        client.join().unwrap()
    })
}

fn read_body(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    body
}

#[test]
fn a_body_that_resembles_a_refusal_arrives_unchanged() {
    let directory = std::env::temp_dir().join(format!("sprocket-wire-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let body = b"HTTP/1.1 400 xyz".repeat(200_000);
    std::fs::write(directory.join("file"), &body).unwrap();
    let (server, address) = start(Config { static_files: Some(directory.clone()), ..Config::default() });
    server.set_interest(Interest::REQUEST, true);
    let (body, server) = (&body[..], &server);
    for path in ["/file", "/asked"] {
        serve_to(server, body, || {
            let mut client = connect(address);
            for _ in 0..2 {
                client.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
                let head = read_head(&mut client);
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                assert!(read_body(&mut client, body.len()) == body, "{path}: the body was changed");
            }
            // A refusal by hyper itself still has a body with the reason.
            client.write_all(b"garbage\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("well-formed"), "{answer}");
        });
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_refusal_after_a_pending_response_has_a_reason() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let body = vec![b'x'; 4 << 20];
    let answers = serve_to(&server, &body, || {
        let mut client = connect(address);
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\n\r\ngarbage\r\n\r\n")
            .unwrap();
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).unwrap();
        String::from_utf8(answers).unwrap()
    });
    let (_, last) = answers.rsplit_once("HTTP/1.1 400 ").unwrap();
    assert!(last.contains("well-formed"), "{last}");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
}

#[test]
fn a_handshake_after_another_request_waits_for_its_response() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let body = vec![b'x'; 4 << 20];
    serve_to(&server, &body, || {
        let mut client = connect(address);
        let handshake = upgrade_head(address, "/", "");
        let mut requests = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{handshake}").into_bytes();
        // The first message and the close frame arrive together with the requests.
        requests.extend(frame(0x81, b"early"));
        requests.extend(close_frame(1000, "bye"));
        client.write_all(&requests).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
        read_body(&mut client, 4 << 20);
        assert!(
            read_head(&mut client).starts_with("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n")
        );
        assert_eq!(read_close(&mut client), (1000, "bye".to_owned()));
    });
}

#[test]
fn a_100_continue_precedes_the_response() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    serve_to(&server, b"HTTP/1.1 400 is the body", || {
        let mut client = connect(address);
        for _ in 0..2 {
            client
                .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
                .unwrap();
            assert_eq!(read_head(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
            client.write_all(b"hi").unwrap();
            assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
            assert_eq!(read_body(&mut client, 24), b"HTTP/1.1 400 is the body");
        }
    });
}

#[test]
fn hundreds_of_headers_are_accepted_in_every_request() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let many = |count: usize| (0..count).map(|i| format!("X-{i}: v\r\n")).collect::<String>();
    serve_to(&server, b"answer", || {
        let plain = |more: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{more}\r\nhi");
        let mut client = connect(address);
        // A single request, and several that arrive together.
        for requests in [plain(""), plain(&many(500)) + &plain(&many(1000)) + &plain("")] {
            client.write_all(requests.as_bytes()).unwrap();
            for _ in 0..requests.matches("POST").count() {
                assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
                assert_eq!(read_body(&mut client, 6), b"answer");
            }
        }
        client.write_all(plain(&many(1100)).as_bytes()).unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("HTTP/1.1 431 ") && rest.contains("too large"), "{rest}");

        let mut client = connect(address);
        let handshake = upgrade_head(address, "/", &many(300));
        client.write_all(&[handshake.as_bytes(), &close_frame(1000, "bye")].concat()).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 101 "));
        assert_eq!(read_close(&mut client), (1000, "bye".to_owned()));
    });
    assert_eq!(server.stats().bad_requests, 1);
}
