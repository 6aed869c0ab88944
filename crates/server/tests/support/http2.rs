//! Connections of HTTP/2 whose frames a test writes and reads itself.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use sprocket_server::{Config, Interest, Server, Tls};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::*;
use crate::tls::{Authority, Folder, Secure, secure, serve};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const END_HEADERS: u8 = 4;
pub const END_HEADERS_AND_STREAM: u8 = 5;

/// `:method GET` or `POST`, `:scheme https` and `:authority a`, encoded with the static table of RFC
/// 7541.
pub const GET: &[u8] = b"\x82\x87\x01\x01a";
pub const POST: &[u8] = b"\x83\x87\x01\x01a";
/// `:path /`.
pub const ROOT: &[u8] = b"\x84";

/// Certificates, a server that uses them, and its clients.
pub struct Fixture {
    _folder: Folder,
    pub authority: Authority,
    pub server: Server,
    pub address: SocketAddr,
}

impl Fixture {
    pub fn new(name: &str, config: Config) -> Self {
        let (folder, authority) = (Folder::new(name), Authority::new());
        let (server, address) = serve(Tls::new(authority.identity(&folder, "localhost")), config);
        server.set_interest(Interest::REQUEST, true);
        Self { _folder: folder, authority, server, address }
    }

    /// Opens a connection and sends its preface with these settings.
    pub fn connect(&self, settings: &[u8]) -> Secure {
        let mut client = self.authority.client();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let mut stream = secure(self.address, client, "localhost");
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &h2(SETTINGS, 0, 0, settings)[..]].concat();
        stream.write_all(&preface).unwrap();
        stream
    }

    /// Waits until the condition holds, without taking an event.
    pub fn wait_for(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a header as a literal (RFC 7541 section 6.2).
pub fn literal(prefix: u8, name: &str, value: &[u8]) -> Vec<u8> {
    let mut block = vec![prefix];
    for text in [name.as_bytes(), value] {
        if text.len() < 127 {
            block.push(text.len() as u8);
        } else {
            let rest = text.len() - 127;
            block.extend([127, 0x80 | (rest % 128) as u8, u8::try_from(rest / 128).unwrap()]);
        }
        block.extend(text);
    }
    block
}

/// Encodes an extended CONNECT, the WebSocket handshake of RFC 8441.
pub fn websocket(stream: u32) -> Vec<u8> {
    let block = [
        literal(0, ":method", b"CONNECT"),
        literal(0, ":protocol", b"websocket"),
        [b"\x87\x01\x01a", ROOT].concat(),
        literal(0, "sec-websocket-version", b"13"),
    ];
    h2(HEADERS, END_HEADERS, stream, &block.concat())
}

/// Reads the next frame from the server: type, flags, stream, payload.
pub fn next_frame(stream: &mut Secure) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).unwrap();
    (head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload)
}

/// Reads up to the next frame of a stream.
pub fn next_of(stream: &mut Secure, id: u32) -> (u8, Vec<u8>) {
    loop {
        let (kind, _, of, payload) = next_frame(stream);
        if of == id {
            return (kind, payload);
        }
    }
}

/// Whether the connection answers a ping; frames before the answer are discarded.
pub fn is_alive(stream: &mut Secure) -> bool {
    stream.write_all(&h2(PING, 0, 0, b"anything")).unwrap();
    loop {
        if let (PING, 1, 0, payload) = next_frame(stream) {
            return payload == b"anything";
        }
    }
}
