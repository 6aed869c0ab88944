//! Starts servers on ports chosen by the kernel, and provides raw clients for them.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use sprocket_server::{Bind, Config, Connection, Event, Server, Wait};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a server on 127.0.0.1 and returns its address.
pub fn start(config: Config) -> (Server, SocketAddr) {
    let server = Server::start(config, vec![Bind::Tcp(([127, 0, 0, 1], 0).into())]).unwrap();
    let address = server.addresses()[0].trim_start_matches("ws://").parse().unwrap();
    (server, address)
}

/// Waits for the next event.
pub fn next(server: &Server) -> Event {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = server.next_event() {
            return event;
        }
        assert!(Instant::now() < deadline, "no event came");
        server.wait(Some(Duration::from_millis(100)));
    }
}

/// Waits for the next event, which must be the opening of a connection.
pub fn opened(server: &Server) -> Connection {
    match next(server) {
        Event::Open { conn, .. } => conn,
        other => panic!("{other:?}"),
    }
}

/// Waits until a connection is opened; other events are discarded.
pub fn found_open(server: &Server) -> Connection {
    loop {
        if let Event::Open { conn, .. } = next(server) {
            return conn;
        }
    }
}

/// Opens a client and subscribes its connection to topics or patterns.
pub fn subscriber(server: &Server, address: SocketAddr, topics: &[&str]) -> (TcpStream, Connection) {
    let client = open(address);
    let conn = found_open(server);
    topics.iter().for_each(|topic| server.subscribe_pattern(&conn, topic).unwrap());
    server.flush();
    (client, conn)
}

/// Publishes a text and flushes.
pub fn publish(server: &Server, topic: &str, payload: &str) {
    server.publish(topic, payload.as_bytes(), false, None).unwrap();
    server.flush();
}

/// Resumes a topic and returns the result: complete, messages, position.
pub fn resume(server: &Server, conn: &Connection, topic: &str, position: &str) -> (bool, u64, String) {
    server.resume(conn, topic, position).unwrap();
    server.flush();
    resumed(server)
}

/// Waits for the result of resuming: complete, messages, position.
pub fn resumed(server: &Server) -> (bool, u64, String) {
    loop {
        if let Event::Resumed { complete, messages, position, .. } = next(server) {
            return (complete, messages, position);
        }
    }
}

/// Takes events until `done` returns true and calls `on` with each of them.
pub fn pump(server: &Server, mut on: impl FnMut(&Server, Event), mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        while let Some(event) = server.next_event() {
            on(server, event);
        }
        assert!(Instant::now() < deadline, "the condition did not come true");
        if server.wait(Some(Duration::from_millis(5))) == Wait::Interrupted {
            continue;
        }
    }
}

/// Whether no event arrives within `time`.
pub fn quiet(server: &Server, time: Duration) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if server.next_event().is_some() {
            return false;
        }
        server.wait(Some(Duration::from_millis(10)));
    }
    true
}

/// Opens a raw connection with time limits, so that a test cannot hang.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Returns the head of a handshake with additional header lines.
pub fn upgrade_head(address: SocketAddr, path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

/// Opens a raw connection and completes its handshake.
pub fn open(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(upgrade_head(address, "/", "").as_bytes()).unwrap();
    let head = read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// Reads up to the empty line, byte by byte, so that the data after it stays unread.
pub fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("head ended early ({other:?}): {}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Sends a complete request and reads until the server closes the connection.
pub fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Encodes a masked client frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
    out
}

/// Reads a frame from the server and returns its first byte and its payload.
pub fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0u8; 2];
    stream.read_exact(&mut head).unwrap();
    let length = match head[1] {
        126 => {
            let mut bytes = [0u8; 2];
            stream.read_exact(&mut bytes).unwrap();
            u16::from_be_bytes(bytes) as usize
        }
        127 => {
            let mut bytes = [0u8; 8];
            stream.read_exact(&mut bytes).unwrap();
            u64::from_be_bytes(bytes) as usize
        }
        n => n as usize,
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).unwrap();
    (head[0], payload)
}

/// Reads the next frame and returns its text.
pub fn text(stream: &mut TcpStream) -> String {
    String::from_utf8(read_frame(stream).1).unwrap()
}

/// Reads the next frame, which must be a close frame, and returns its code and reason.
pub fn read_close(stream: &mut TcpStream) -> (u16, String) {
    let (first, payload) = read_frame(stream);
    assert_eq!(first, 0x88, "a close frame");
    let code = u16::from_be_bytes([payload[0], payload[1]]);
    (code, String::from_utf8(payload[2..].to_vec()).unwrap())
}

/// Encodes a close frame of the client.
pub fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.as_bytes());
    frame(0x88, &payload)
}

/// Reads until the server ends the connection.
pub fn at_end(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).is_ok_and(|_| rest.is_empty())
}
