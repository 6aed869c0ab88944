//! HTTP/1: handshakes, refusals, plain requests, limits.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use bytes::Bytes;
use sprocket_server::{Config, Decision, Event, Interest, Response};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0)
}

/// Checks that a response is a refusal with a reason in its body.
fn refused(answer: &str, expected: u16) {
    assert_eq!(status(answer), expected, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(body.len() > 10, "{answer}");
}

#[test]
fn malformed_requests_have_their_status() {
    let (_server, address) = start(Config::default());
    let good = upgrade_head(address, "/", "");
    let long = format!("X-Long: {}\r\n", "a".repeat(17 << 10));
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(), 405),
        ("garbage\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n".to_owned(), 400),
        ("GET /#fragment HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        (upgrade_head(address, "/?a#", ""), 400),
        (good.replace("Version: 13", "Version: 12"), 426),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (good.replace("Connection: Upgrade", "Connection: close"), 400),
        (good.replace("GET", "POST"), 405),
        (upgrade_head(address, "/", "Origin: http://elsewhere.example\r\n"), 403),
        (upgrade_head(address, "/", &long), 431),
    ] {
        refused(&exchange(address, request.as_bytes()), expected);
    }
    assert!(exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").contains("ersion: 13"));
}

#[test]
fn a_slow_head_is_cut_off() {
    let (server, address) =
        start(Config { handshake_timeout: Duration::from_millis(200), ..Config::default() });
    let mut client = connect(address);
    client.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    let begun = Instant::now();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let deadline = Instant::now() + PATIENCE;
    while server.stats().handshake_timeouts == 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_silent_connection_is_cut_off() {
    let (_server, address) =
        start(Config { handshake_timeout: Duration::from_millis(200), ..Config::default() });
    let mut client = connect(address);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn limits_of_connections_are_answered_with_503_and_429() {
    let (server, address) = start(Config { max_connections: 1, ..Config::default() });
    let first = open(address);
    refused(&exchange(address, upgrade_head(address, "/", "").as_bytes()), 503);
    assert_eq!((server.stats().refused_connections, server.stats().connections), (1, 1));
    opened(&server);
    drop(first);
    let Event::Close { .. } = next(&server) else { panic!() };
    drop(open(address));

    let (server, address) = start(Config { max_connections_per_ip: 2, ..Config::default() });
    let _two = (open(address), open(address));
    refused(&exchange(address, upgrade_head(address, "/", "").as_bytes()), 429);
    assert_eq!(server.stats().refused_per_ip, 1);
}

#[test]
fn the_host_decides_about_a_handshake() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::UPGRADE, true);
    let mut client = connect(address);
    let head = upgrade_head(address, "/chat?x=1", "Cookie: a=b\r\nSec-WebSocket-Protocol: v1, v2\r\n");
    client.write_all(head.as_bytes()).unwrap();
    let Event::Upgrade { ticket, request } = next(&server) else { panic!() };
    assert_eq!((request.method(), request.path(), request.query()), ("GET", "/chat", "x=1"));
    assert_eq!(request.header("COOKIE"), Some(&b"a=b"[..]));
    assert_eq!(request.subprotocols().collect::<Vec<_>>(), ["v1", "v2"]);
    assert_eq!(request.remote().unwrap(), client.local_addr().unwrap());
    let headers = vec![("X-Session".to_owned(), "7".to_owned())];
    assert!(server.decide(ticket, Decision::Accept { subprotocol: Some("v2".to_owned()), headers }));
    assert!(!server.decide(ticket, Decision::Accept { subprotocol: None, headers: vec![] }));
    server.flush();
    let head = read_head(&mut client).to_lowercase();
    assert!(head.contains("sec-websocket-protocol: v2\r\n") && head.contains("x-session: 7\r\n"), "{head}");
    let Event::Open { ticket: opened, subprotocol, .. } = next(&server) else { panic!() };
    assert_eq!((opened, subprotocol.as_deref()), (Some(ticket), Some("v2")));
}

#[test]
fn the_host_also_decides_about_a_connection_from_before_the_start() {
    // The handshake arrives before the server starts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let config = Config { interest: Interest::UPGRADE, ..Config::default() };
    let server =
        sprocket_server::Server::start(config, vec![sprocket_server::Bind::Fd(listener.into())]).unwrap();
    assert!(matches!(next(&server), Event::Upgrade { .. }));
}

#[test]
fn a_rejection_is_sent_unchanged() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::UPGRADE, true);
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let Event::Upgrade { ticket, .. } = next(&server) else { panic!() };
    let headers = vec![("WWW-Authenticate".to_owned(), "Bearer".to_owned())];
    let response = Response { status: 401, headers, body: Bytes::from_static(b"who are you?") };
    assert!(server.decide(ticket, Decision::Reject(response)));
    server.flush();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), 401);
    assert!(answer.ends_with("who are you?") && answer.to_lowercase().contains("www-authenticate: bearer"));
    assert!(quiet(&server, Duration::from_millis(50)), "a rejected handshake needs no further event");
    assert_eq!((server.stats().rejected, server.stats().connections), (1, 0));
}

#[test]
fn an_undecided_handshake_times_out_and_the_host_gets_an_event() {
    let (server, address) =
        start(Config { handshake_timeout: Duration::from_millis(400), ..Config::default() });
    server.set_interest(Interest::UPGRADE, true);
    let ask = move || exchange(address, upgrade_head(address, "/", "").as_bytes());
    let asking = std::thread::spawn(ask);
    let Event::Upgrade { ticket, .. } = next(&server) else { panic!() };
    let Event::UpgradeGone { ticket: gone } = next(&server) else { panic!() };
    assert_eq!(ticket, gone);
    assert!(!server.decide(ticket, Decision::Accept { subprotocol: None, headers: vec![] }));
    refused(&asking.join().unwrap(), 503);
    // If the host has not taken the event by then, it never gets it.
    refused(&ask(), 503);
    assert!(server.next_event().is_none());
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let Event::Upgrade { ticket, .. } = next(&server) else { panic!() };
    drop(client);
    let Event::UpgradeGone { ticket: gone } = next(&server) else { panic!("the client went away") };
    assert_eq!(ticket, gone);
    assert_eq!(server.stats().connections, 0);
}

#[test]
fn plain_requests_go_to_the_host_on_a_kept_connection() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let mut client = connect(address);
    for turn in 0..3 {
        let body = format!("body {turn}");
        let request = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.write_all(request.as_bytes()).unwrap();
        let Event::Request { ticket, request, body: got } = next(&server) else { panic!() };
        assert_eq!((request.method(), &got[..]), ("POST", body.as_bytes()));
        let response = Response { status: 200, headers: vec![], body: Bytes::from_static(b"answer") };
        assert!(server.respond(ticket, response));
        server.flush();
        let head = read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("Content-Length: 6"), "{head}");
        let mut body = [0; 6];
        client.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"answer");
    }
}

#[test]
fn the_host_may_close_the_connection_but_not_set_its_other_headers() {
    assert!(Response::check_header("Connection", "close").is_ok());
    for (name, value) in [
        ("Connection", "keep-alive"),
        ("content-length", "1"),
        ("Upgrade", "h2c"),
        ("a b", "c"),
        ("a", "b\nc"),
    ] {
        assert!(Response::check_header(name, value).is_err(), "{name}: {value}");
    }
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let client = std::thread::spawn(move || exchange(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let Event::Request { ticket, .. } = next(&server) else { panic!() };
    let headers = vec![("Connection".to_owned(), "close".to_owned())];
    server.respond(ticket, Response { status: 200, headers, body: Bytes::from_static(b"bye") });
    server.flush();
    assert!(client.join().unwrap().ends_with("bye"));
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let (server, address) = start(Config { max_body_size: 100, ..Config::default() });
    server.set_interest(Interest::REQUEST, true);
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n".to_vec();
    request.extend([b'x'; 5000]);
    refused(&exchange(address, &request), 413);
    assert_eq!(server.stats().http_requests, 0);
}

#[test]
fn the_health_path_is_served_without_the_host() {
    let (_server, address) = start(Config { health_path: Some("/up".to_owned()), ..Config::default() });
    let answer = exchange(address, b"GET /up HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&answer), 200);
}

#[test]
fn a_unix_socket_is_served() {
    let path = std::env::temp_dir().join(format!("sprocket-http-{}.sock", std::process::id()));
    let server =
        sprocket_server::Server::start(Config::default(), vec![sprocket_server::Bind::Unix(path.clone())])
            .unwrap();
    assert_eq!(server.addresses(), [format!("unix://{}", path.display())]);
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let head = upgrade_head(([127, 0, 0, 1], 80).into(), "/", "");
    client.write_all(head.as_bytes()).unwrap();
    let Event::Open { conn, .. } = next(&server) else { panic!() };
    assert_eq!((conn.remote_ip(), conn.remote_port()), (None, 0));
    drop(server);
    assert!(!path.exists());
}

/// Forms of request smuggling: one message that can be read as two, or two as one. The second request,
/// if it were accepted, would go to `/smuggled`.
#[test]
fn messages_of_ambiguous_length_are_refused_or_end_their_connection() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    let second = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /first HTTP/1.1\r\nHost: a\r\n";
    for (request, expected) in [
        (format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello{second}"), 400),
        (format!("{post}Content-Length: 5, 6\r\n\r\nhello{second}"), 400),
        (format!("{post}Content-Length: +5\r\n\r\nhello{second}"), 400),
        (format!("{post}Content-Length: 0x5\r\n\r\nhello{second}"), 400),
        (format!("{post}Content-Length: -1\r\n\r\n{second}"), 400),
        (format!("{post}Content-Length: 99999999999999999999\r\n\r\n{second}"), 400),
        (format!("{post}X: 1\r\n Content-Length: 5\r\n\r\n{second}"), 400),
        (format!("{post}Content-Length : 5\r\n\r\nhello{second}"), 400),
        (format!("{post}Content-\0Length: 5\r\n\r\nhello{second}"), 400),
        (format!("{post}Transfer-Encoding: gzip\r\n\r\n{second}"), 400),
        (format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{second}"), 501),
        (
            format!("{post}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"),
            501,
        ),
        (format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n{second}"), 400),
        (format!("{post}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{second}"), 400),
        (format!("{post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{second}"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\nZ\r\n\r\n{second}"), 400),
        (format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{second}"), 400),
        (format!("{post}Host: b\r\nContent-Length: 0\r\n\r\n{second}"), 400),
        (format!("POST /first HTTP/1.1\r\nContent-Length: 0\r\n\r\n{second}"), 400),
        (format!("{}{second}", upgrade_head(address, "/", "Content-Length: 42\r\n")), 400),
        (format!("{}{second}", upgrade_head(address, "/", "Transfer-Encoding: chunked\r\n")), 400),
        (format!("{}{second}", upgrade_head(address, "/", "Transfer-Encoding: gzip, chunked\r\n")), 501),
        // Both headers: `Transfer-Encoding` determines the length, and the connection ends after this
        // request.
        (format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}"), 200),
        (format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{second}"), 200),
    ] {
        let mut client = connect(address);
        client.write_all(request.as_bytes()).unwrap();
        let answers = std::thread::spawn(move || {
            let mut answers = Vec::new();
            let _ = client.read_to_end(&mut answers);
            String::from_utf8_lossy(&answers).into_owned()
        });
        pump(
            &server,
            |server, event| {
                if let Event::Request { ticket, request: got, .. } = event {
                    assert_eq!(got.path(), "/first", "{request}");
                    let response =
                        Response { status: 200, headers: vec![], body: Bytes::from_static(b"first") };
                    server.respond(ticket, response);
                }
            },
            || answers.is_finished(),
        );
        let answers = answers.join().unwrap();
        assert_eq!(status(&answers), expected, "{request}: {answers}");
        let count = ["HTTP/1.1 2", "HTTP/1.1 4", "HTTP/1.1 5"].map(|line| answers.matches(line).count());
        assert_eq!(count.iter().sum::<usize>(), 1, "{request}: {answers}");
    }
}

#[test]
fn statuses_without_content_have_none() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::REQUEST, true);
    for code in [204, 304] {
        let mut client = connect(address);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let Event::Request { ticket, .. } = next(&server) else { panic!() };
        server.respond(ticket, Response { status: code, headers: vec![], body: Bytes::from_static(b"none") });
        server.flush();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(status(&answer) == code && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[test]
fn the_metrics_path_is_served_without_the_host() {
    let (_server, address) = start(Config { metrics_path: Some("/metrics".to_owned()), ..Config::default() });
    let _open = open(address);
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&answer), 200);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("\nsprocket_connections 1\n"), "{body}");
}

#[test]
fn a_unix_socket_has_the_configured_mode_and_errors_name_it() {
    let path = std::env::temp_dir().join(format!("sprocket-mode-{}.sock", std::process::id()));
    let listen =
        sprocket_server::Listen { mode: Some(0o620), ..sprocket_server::Bind::Unix(path.clone()).into() };
    let server = sprocket_server::Server::start(Config::default(), vec![listen]).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o620);
    drop(server);
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let listen = sprocket_server::Listen {
        name: Some("fd://7".to_owned()),
        ..sprocket_server::Bind::Fd(one.into()).into()
    };
    let error = sprocket_server::Server::start(Config::default(), vec![listen]).unwrap_err();
    assert!(error.to_string().contains("fd://7"), "{error}");
}

#[test]
fn a_port_can_be_shared_and_ipv6_listeners_accept_ipv4_unless_disabled() {
    use sprocket_server::{Bind, Listen, Server};
    let v6 = |port: u16| Bind::Tcp(std::net::SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port));
    let share = |port| Listen { reuse_port: true, ..v6(port).into() };
    let first = Server::start(Config::default(), vec![share(0)]).unwrap();
    let port: u16 = first.addresses()[0].rsplit(':').next().unwrap().parse().unwrap();
    let _second = Server::start(Config::default(), vec![share(port)]).unwrap();
    drop(open(([127, 0, 0, 1], port).into()));

    let only = Listen { only_v6: true, ..v6(0).into() };
    let server = Server::start(Config::default(), vec![only]).unwrap();
    let port: u16 = server.addresses()[0].rsplit(':').next().unwrap().parse().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    drop(open((std::net::Ipv6Addr::LOCALHOST, port).into()));
}

/// Waits for input and returns whether the server has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Ok(1..))
}

#[test]
fn http_sockets_per_address_are_limited() {
    let (server, address) = start(Config { max_handshakes_per_ip: 2, ..Config::default() });
    let mut first = connect(address);
    first.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    read_head(&mut first);
    opened(&server);
    // The first socket has become a WebSocket and no longer counts.
    pump(&server, |_, _| {}, || server.stats().http_sockets == 0);
    let mut others = [connect(address), connect(address), connect(address)];
    assert!(is_closed(&mut others[2]));
    assert_eq!(server.stats().handshakes_refused, 1);
    for other in &mut others[..2] {
        other.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
        assert!(read_head(other).starts_with("HTTP/1.1 101"));
    }
}

#[test]
fn the_time_limit_of_a_further_request_starts_with_its_first_byte() {
    let (server, address) = start(Config { handshake_timeout: Duration::from_secs(4), ..Config::default() });
    server.set_interest(Interest::REQUEST, true);
    let mut client = connect(address);
    for pause in [Duration::ZERO, Duration::from_millis(2500)] {
        // The delays of client and host together exceed the time limit of one request.
        std::thread::sleep(pause);
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let Event::Request { ticket, .. } = next(&server) else { panic!() };
        assert!(quiet(&server, pause));
        let response = Response { status: 200, headers: vec![], body: Bytes::new() };
        assert!(server.respond(ticket, response));
        server.flush();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn a_client_that_half_closes_during_the_decision_is_dropped() {
    let (server, address) = start(Config { handshake_timeout: Duration::from_secs(60), ..Config::default() });
    server.set_interest(Interest::UPGRADE, true);
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    assert!(matches!(next(&server), Event::Upgrade { .. }));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(next(&server), Event::UpgradeGone { .. }));
}

#[test]
fn frames_that_arrive_during_the_decision_are_kept() {
    let (server, address) = start(Config::default());
    server.set_interest(Interest::UPGRADE, true);
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let Event::Upgrade { ticket, .. } = next(&server) else { panic!() };
    let large = vec![b'x'; 50_000];
    client.write_all(&[frame(0x81, b"early"), frame(0x82, &large)].concat()).unwrap();
    assert!(quiet(&server, Duration::from_millis(50)));
    assert!(server.decide(ticket, Decision::Accept { subprotocol: None, headers: vec![] }));
    server.flush();
    assert!(matches!(next(&server), Event::Open { .. }));
    for expected in [&b"early"[..], &large] {
        let Event::Message { payload, .. } = next(&server) else { panic!() };
        assert_eq!(payload, expected);
    }
}
