//! Log lines and refused requests, as the server reports them to the host.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use sprocket_server::notices::{Level, Line, Value};
use sprocket_server::{Config, Event, Interest, PublishSocket, Server};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;
use support::*;

fn wants(interest: Interest) -> Config {
    Config { interest, ..Config::default() }
}

/// Sends a handshake from a foreign origin and reads up to the end of the connection.
fn refuse(address: SocketAddr) {
    let mut client = connect(address);
    client.write_all(upgrade_head(address, "/", "Origin: http://evil.example\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    // A reset after the response is not a failure.
    let _ = client.read_to_string(&mut response);
    assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
}

fn text(line: &Line, name: &str) -> String {
    match line.context.iter().find(|(key, _)| *key == name) {
        Some((_, Value::Text(text))) => text.clone(),
        other => panic!("{name} is {other:?}"),
    }
}

fn number(line: &Line, name: &str) -> u64 {
    match line.context.iter().find(|(key, _)| *key == name) {
        Some((_, Value::Number(number))) => *number,
        other => panic!("{name} is {other:?}"),
    }
}

/// Returns all log lines and the number of refused requests up to the end of the server. After the
/// grace period the server reports no more refused requests.
fn all(server: &Server, grace: Duration) -> (Vec<Line>, usize) {
    server.stop(grace);
    let (mut lines, mut refused) = (Vec::new(), 0);
    loop {
        match next(server) {
            Event::Log(line) => lines.push(line),
            Event::Refused(_) => refused += 1,
            Event::Stopped => return (lines, refused),
            _ => {}
        }
    }
}

#[test]
fn the_host_gets_only_the_notices_that_it_requests() {
    for (interest, lines, refused) in [
        (Interest::NONE, false, 0),
        (Interest::LOG, true, 0),
        (Interest::REFUSED, false, 1),
        (Interest::LOG.and(Interest::REFUSED), true, 1),
    ] {
        let (server, address) = start(wants(interest));
        refuse(address);
        let (found, notices) = all(&server, PATIENCE);
        assert_eq!((!found.is_empty(), notices), (lines, refused), "{interest:?}");
        assert_eq!(server.stats().refused_origin, 1);
    }
}

#[test]
fn a_sleeping_host_gets_few_notices_of_a_flood_and_a_complete_count() {
    const FLOOD: u64 = 400;
    for io_threads in [1, 3] {
        let config = Config { io_threads, ..wants(Interest::LOG.and(Interest::REFUSED)) };
        let (server, address) = start(config);
        (0..FLOOD).for_each(|_| refuse(address));
        let (lines, notices) = all(&server, PATIENCE);
        let stats = server.stats();
        assert!(notices <= 256, "{notices} waited");
        assert_eq!(notices as u64 + stats.refused_unreported, FLOOD);
        let of = |event| lines.iter().filter(move |line| text(line, "event") == event);
        let written = of("handshake.refused").count() as u64;
        assert!(written < FLOOD / 2, "{written} lines");
        assert_eq!(written + stats.log_suppressed, FLOOD);
        // The server reports the remaining numbers when it ends.
        assert_eq!(of("log.suppressed").map(|line| number(line, "lines")).sum::<u64>(), stats.log_suppressed);
        assert_eq!(
            of("refused.unreported").map(|line| number(line, "requests")).sum::<u64>(),
            stats.refused_unreported
        );
    }
}

#[test]
fn the_final_line_counts_the_cut_connections_of_all_threads() {
    let (server, address) = start(Config { io_threads: 2, ..wants(Interest::LOG) });
    let clients: Vec<_> = (0..3).map(|_| open(address)).collect();
    (0..3).for_each(|_| drop(opened(&server)));
    let (lines, _) = all(&server, Duration::ZERO);
    let last = lines.last().unwrap();
    assert_eq!((text(last, "event").as_str(), number(last, "cut")), ("server.stopped", 3));
    drop(clients);
}

#[test]
fn a_line_cannot_be_used_to_forge_another_one() {
    let (server, address) = start(wants(Interest::LOG));
    let mut client = connect(address);
    // The single-byte control characters NEL and CSI: RFC 9110 section 5.5 permits bytes beyond ASCII.
    let origin = b"Origin: http://evil.example\xc2\x85\xc2\x9b2Jforged\r\n\r\n";
    let head = upgrade_head(address, "/", "");
    client.write_all(&[head.trim_end().as_bytes(), b"\r\n", origin].concat()).unwrap();
    let line = loop {
        if let Event::Log(line) = next(&server) {
            break line;
        }
    };
    assert!(line.level >= Level::Info);
    assert!(!line.message.contains(char::is_control), "{:?}", line.message);
    for (_, value) in &line.context {
        assert!(!matches!(value, Value::Text(text) if text.contains(char::is_control)), "{value:?}");
    }
}

#[test]
fn refusals_on_the_publish_socket_are_logged_with_reason_and_option() {
    const FLOOD: u64 = 40;
    let path = std::env::temp_dir().join(format!("sprocket-notices-{}.sock", std::process::id()));
    let mut socket = PublishSocket::new(path.clone());
    (socket.max_publishers, socket.request_timeout) = (1, Duration::from_millis(100));
    let config = Config { publish_socket: Some(socket), send_buffer_limit: 1000, ..wants(Interest::LOG) };
    let (server, _) = start(config);
    // Sends the bytes and returns all answers up to the end of the connection.
    let say = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answers = String::new();
        // A reset after the answers is not a failure.
        let _ = BufReader::new(stream).read_to_string(&mut answers);
        answers
    };
    let free = || pump(&server, |_, _| {}, || server.stats().publishers == 0);
    // One log line for each refusal; after them a flood.
    let mut expected = Vec::new();
    for (bytes, code, option, reason) in [
        (
            &b"PUBLISH text 1 1001\n"[..],
            "too-large",
            Some("sendBufferLimit"),
            "has 1001 bytes, but the limit is 1000",
        ),
        (b"GET / HTTP/1.1\r\n\r\n", "malformed", None, "a request begins with"),
        (b"PUBLISH text 1 1\nt", "timeout", None, "was not complete"),
    ] {
        let line = std::cell::RefCell::new(None);
        let answers = say(bytes);
        assert!(answers.starts_with(&format!("ERROR {code} ")), "{answers}");
        let log = |_: &Server, event| {
            if let Event::Log(found) = event {
                line.replace(Some(found));
            }
        };
        pump(&server, log, || line.borrow().is_some());
        expected.push((line.take().unwrap(), code, option, reason));
        free();
    }
    for (line, code, option, reason) in expected {
        assert_eq!((text(&line, "event").as_str(), text(&line, "code").as_str()), ("publish.refused", code));
        assert!(line.message.contains(reason) && text(&line, "reason").contains(reason), "{line:?}");
        let found = line.context.iter().find(|(name, _)| *name == "option").map(|(_, value)| value.clone());
        assert_eq!(found, option.map(Value::from), "{line:?}");
    }
    // Another publisher is already connected.
    let mut first = BufReader::new(UnixStream::connect(&path).unwrap());
    first.get_mut().write_all(&b"PUBLISH text 1 1\n>x".repeat(FLOOD as usize)).unwrap();
    (0..FLOOD).for_each(|_| assert!(first.read_line(&mut String::new()).unwrap() > 0));
    assert!(say(b"").starts_with("ERROR busy "));
    let (lines, _) = all(&server, PATIENCE);
    let of = |event| lines.iter().filter(move |line| text(line, "event") == event);
    let written = of("publish.refused").count() as u64;
    assert!((1..FLOOD / 2).contains(&written), "{written} lines");
    assert_eq!(written + of("log.suppressed").map(|line| number(line, "lines")).sum::<u64>(), FLOOD + 1);
    assert_eq!(server.stats().socket_refused, FLOOD + 4);
}
