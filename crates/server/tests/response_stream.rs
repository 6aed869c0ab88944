//! Streamed responses over HTTP/1: the host writes the body in pieces.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use bytes::Bytes;
use sprocket_server::{Config, Event, Interest, Response, ResponseStream, SendOutcome, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use support::*;

const LIMIT: usize = 256 << 10;
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn serve(config: Config) -> (Server, SocketAddr) {
    start(Config { interest: Interest::REQUEST, send_buffer_limit: LIMIT, ..config })
}

fn head(status: u16) -> Response {
    Response { status, headers: vec![("X-Kind".into(), "stream".into())], body: Bytes::new() }
}

/// Waits for the next request and answers it with a stream.
fn begin(server: &Server) -> ResponseStream {
    let Event::Request { ticket, .. } = next(server) else { panic!("a request") };
    let stream = server.stream(ticket, head(200));
    server.flush();
    stream
}

/// Sends a request and answers it with a stream.
fn streamed(server: &Server, address: SocketAddr, request: &str) -> (TcpStream, ResponseStream) {
    let mut client = connect(address);
    client.write_all(request.as_bytes()).unwrap();
    (client, begin(server))
}

fn write(server: &Server, stream: &ResponseStream, data: &[u8]) -> SendOutcome {
    let outcome = server.write_stream(stream, data);
    server.flush();
    outcome
}

fn end(server: &Server, stream: &ResponseStream) {
    assert!(server.end_stream(stream));
    server.flush();
}

/// Returns whether the stream was complete. Its end must be the next event.
fn closed(server: &Server, stream: &ResponseStream) -> bool {
    match next(server) {
        Event::StreamClose { stream: which, complete } => {
            assert_eq!(which.ticket(), stream.ticket());
            assert!(!stream.is_open() && stream.buffered_amount() == 0);
            assert_eq!(server.write_stream(stream, b"late"), SendOutcome::Closed);
            complete
        }
        other => panic!("{other:?}"),
    }
}

/// Reads one chunk (RFC 9112 section 7.1); it is empty at the end of the body.
fn chunk(client: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut data = vec![0; size + 2];
    client.read_exact(&mut data).unwrap();
    data.truncate(size);
    data
}

/// Writes until the socket of a client that does not read is full and data waits in the server.
fn fill(server: &Server, stream: &ResponseStream) {
    let piece = vec![b'x'; LIMIT / 4];
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the socket accepts all data");
        if stream.buffered_amount() > LIMIT / 2 {
            // The data stays in the buffer, so it is not merely on its way to the I/O thread.
            if quiet(server, Duration::from_millis(200)) && stream.buffered_amount() > LIMIT / 2 {
                return;
            }
        } else {
            assert_eq!(write(server, stream, &piece), SendOutcome::Sent);
        }
    }
}

#[test]
fn pieces_become_chunks_and_the_connection_stays_open() {
    let (server, address) = serve(Config::default());
    let (mut client, stream) = streamed(&server, address, GET);
    let got = read_head(&mut client);
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "before the first piece: {got}");
    assert!(got.contains("Transfer-Encoding: chunked\r\n") && got.contains("X-Kind: stream\r\n"), "{got}");
    assert!(!got.contains("content-length"), "{got}");
    for piece in ["one", "two"] {
        assert_eq!(write(&server, &stream, piece.as_bytes()), SendOutcome::Sent);
        assert_eq!(chunk(&mut client), piece.as_bytes());
    }
    assert_eq!((server.stats().streams, server.stats().streams_begun), (1, 1));
    end(&server, &stream);
    assert_eq!(chunk(&mut client), b"");
    assert!(closed(&server, &stream));
    let stats = server.stats();
    assert_eq!((stats.streams, stats.waiting_bytes, stats.handshakes), (0, 0, 0));

    client.write_all(GET.as_bytes()).unwrap();
    let stream = begin(&server);
    server.write_stream(&stream, b"second");
    end(&server, &stream);
    read_head(&mut client);
    assert_eq!([chunk(&mut client), chunk(&mut client)], [b"second".to_vec(), Vec::new()]);
    assert!(closed(&server, &stream));
}

#[test]
fn the_next_request_on_a_connection_gets_its_own_response() {
    let (server, address) = serve(Config::default());
    let mut client = connect(address);
    client.write_all(format!("{GET}{GET}garbage\r\n\r\n").as_bytes()).unwrap();
    for body in ["first", "second"] {
        let stream = begin(&server);
        server.write_stream(&stream, body.as_bytes());
        end(&server, &stream);
        assert!(closed(&server, &stream));
        read_head(&mut client);
        assert_eq!([chunk(&mut client), chunk(&mut client)], [body.as_bytes().to_vec(), Vec::new()]);
    }
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 400 ") && rest.contains("not a well-formed"), "{rest}");
}

#[test]
fn in_http_1_0_the_connection_ends_with_the_body() {
    let (server, address) = serve(Config::default());
    let (mut client, stream) = streamed(&server, address, "GET / HTTP/1.0\r\n\r\n");
    write(&server, &stream, b"some");
    write(&server, &stream, b"thing");
    end(&server, &stream);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nsomething") && !answer.contains("chunked"), "{answer}");
    assert!(closed(&server, &stream));
}

#[test]
fn the_client_can_detect_an_incomplete_body() {
    let (server, address) = serve(Config::default());
    for request in [GET, "GET / HTTP/1.0\r\n\r\n"] {
        let (mut client, stream) = streamed(&server, address, request);
        read_head(&mut client);
        write(&server, &stream, b"half of it");
        let length =
            if request == GET { chunk(&mut client).len() } else { client.read(&mut [0; 99]).unwrap() };
        assert_eq!(length, 10);
        server.cut_stream(&stream);
        server.flush();
        let mut rest = Vec::new();
        match client.read_to_end(&mut rest) {
            // The last chunk is missing.
            Ok(_) => assert!(request == GET && rest.is_empty()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(!closed(&server, &stream));
    }
    assert_eq!((server.stats().streams_cut, server.stats().streams), (2, 0));
}

#[test]
fn a_response_without_a_body_ends_with_its_head() {
    let (server, address) = serve(Config::default());
    let mut client = connect(address);
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304)] {
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let Event::Request { ticket, .. } = next(&server) else { panic!() };
        let stream = server.stream(ticket, head(status));
        assert!(!stream.is_open());
        assert_eq!(write(&server, &stream, b"body"), SendOutcome::Closed);
        let got = read_head(&mut client);
        assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{got}");
        assert!(!got.contains("content-length"), "{got}");
        assert!(closed(&server, &stream));
    }
    assert_eq!(server.stats().streams, 0);
}

#[test]
fn the_time_limit_ends_with_the_head() {
    let (server, address) =
        serve(Config { handshake_timeout: Duration::from_millis(200), ..Config::default() });
    let (mut client, stream) = streamed(&server, address, GET);
    read_head(&mut client);
    assert!(quiet(&server, Duration::from_millis(700)));
    assert_eq!(write(&server, &stream, b"later"), SendOutcome::Sent);
    assert_eq!(chunk(&mut client), b"later");
    end(&server, &stream);
    assert!(closed(&server, &stream));
}

#[test]
fn the_host_gets_an_event_when_the_client_disconnects() {
    let (server, address) = serve(Config::default());
    let (mut client, stream) = streamed(&server, address, GET);
    read_head(&mut client);
    assert!(stream.is_open());
    drop(client);
    assert!(!closed(&server, &stream));
    assert_eq!((server.stats().streams, server.stats().streams_lost), (0, 1));
    assert!(quiet(&server, Duration::from_millis(50)));
}

#[test]
fn a_stream_for_a_cancelled_request_is_already_closed() {
    let (server, address) = serve(Config::default());
    let mut client = connect(address);
    client.write_all(GET.as_bytes()).unwrap();
    let Event::Request { ticket, .. } = next(&server) else { panic!() };
    // The client sends RST; a client that only half-closes would still get its response.
    socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    let deadline = Instant::now() + PATIENCE;
    while server.stats().http_sockets > 0 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let stream = server.stream(ticket, head(200));
    server.flush();
    assert!(!closed(&server, &stream));
    let stats = server.stats();
    assert_eq!((stats.streams_begun, stats.streams_lost, stats.waiting_bytes), (0, 0, 0));
}

#[test]
fn a_client_that_reads_too_slowly_loses_the_stream() {
    let (server, address) = serve(Config::default());
    let (client, stream) = streamed(&server, address, GET);
    fill(&server, &stream);
    assert!(stream.buffered_amount() <= LIMIT);
    assert_eq!(server.stats().waiting_bytes, stream.buffered_amount() as u64);
    assert_eq!(write(&server, &stream, &[0; LIMIT]), SendOutcome::Overflow);
    assert!(!closed(&server, &stream));
    let stats = server.stats();
    assert_eq!((stats.streams, stats.streams_slow, stats.waiting_bytes), (0, 1, 0));
    drop(client);
}

#[test]
fn a_client_that_reads_nothing_for_too_long_loses_the_stream() {
    let (server, address) =
        serve(Config { handshake_timeout: Duration::from_millis(300), ..Config::default() });
    let (client, stream) = streamed(&server, address, GET);
    let piece = vec![b'x'; LIMIT / 4];
    let deadline = Instant::now() + PATIENCE;
    while stream.is_open() {
        assert!(Instant::now() < deadline);
        if stream.buffered_amount() < LIMIT / 2 {
            write(&server, &stream, &piece);
        }
        server.wait(Some(Duration::from_millis(5)));
        while matches!(server.next_event(), Some(Event::StreamDrain { .. })) {}
    }
    assert_eq!(server.stats().streams_lost, 1);
    drop(client);
}

#[test]
fn a_host_that_waits_for_drains_delivers_any_amount_to_a_slow_reader() {
    const TOTAL: usize = 24 << 20;
    let (server, address) = serve(Config::default());
    let (mut client, stream) = streamed(&server, address, GET);
    read_head(&mut client);
    let reader = std::thread::spawn(move || {
        let mut sum = 0;
        loop {
            let data = chunk(&mut client);
            if data.is_empty() {
                return sum;
            }
            sum += data.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            std::thread::yield_now();
        }
    });
    stream.want_drain(true);
    let piece = vec![1; LIMIT / 2];
    let mut written = 0;
    let mut drains = 0;
    loop {
        while written < TOTAL && stream.buffered_amount() == 0 {
            assert_eq!(write(&server, &stream, &piece), SendOutcome::Sent);
            written += piece.len();
        }
        if written >= TOTAL {
            break;
        }
        match next(&server) {
            Event::StreamDrain { stream: which } => assert_eq!(which.ticket(), stream.ticket()),
            other => panic!("{other:?}"),
        }
        drains += 1;
    }
    end(&server, &stream);
    assert_eq!(reader.join().unwrap(), TOTAL);
    assert!(drains > 0);
    loop {
        match next(&server) {
            Event::StreamDrain { .. } => {}
            Event::StreamClose { complete, .. } => break assert!(complete),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.stats().waiting_bytes, 0);
}

#[test]
fn each_stream_counts_against_the_limit_until_it_ends() {
    let (server, address) = serve(Config { max_connections: 1, ..Config::default() });
    let (client, stream) = streamed(&server, address, GET);
    let (mut refused, other) = streamed(&server, address, GET);
    assert!(read_head(&mut refused).starts_with("HTTP/1.1 503 "));
    assert!(!closed(&server, &other));
    let stats = server.stats();
    assert_eq!((stats.streams, stats.refused_connections, stats.handshakes), (1, 1, 0));
    drop(client);
    assert!(!closed(&server, &stream));
    let (_client, stream) = streamed(&server, address, GET);
    end(&server, &stream);
    assert!(closed(&server, &stream));
}

#[test]
fn streams_may_end_within_the_grace_period_of_a_stop() {
    let (server, address) = serve(Config::default());
    let (mut one, first) = streamed(&server, address, GET);
    let (mut two, second) = streamed(&server, address, GET);
    read_head(&mut one);
    read_head(&mut two);
    server.stop(Duration::from_millis(500));
    write(&server, &first, b"goodbye");
    end(&server, &first);
    assert_eq!([chunk(&mut one), chunk(&mut one)], [b"goodbye".to_vec(), Vec::new()]);
    assert!(closed(&server, &first));
    assert!(!closed(&server, &second));
    assert!(matches!(next(&server), Event::Stopped));
    drop(server);
    let mut rest = Vec::new();
    let _ = two.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[test]
fn streams_are_served_by_the_thread_of_their_connection() {
    let (server, address) = serve(Config { io_threads: 4, ..Config::default() });
    let mut clients: Vec<_> = (0..16).map(|_| streamed(&server, address, GET)).collect();
    for (i, (client, stream)) in clients.iter_mut().enumerate() {
        read_head(client);
        write(&server, stream, format!("for {i}").as_bytes());
        assert_eq!(chunk(client), format!("for {i}").as_bytes());
        end(&server, stream);
        assert!(closed(&server, stream));
    }
    assert_eq!((server.stats().streams, server.stats().streams_begun), (0, 16));
}
