//! Shared code of the reference servers: command line, listener, and handshake.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use bench_common::sys;
use std::net::TcpListener;

/// The action of a server on a message. All servers of the suite have the same modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sends the message back.
    Echo,
    /// Sends the message to every connection.
    Fan,
    /// Takes a connection's first message as the name of its room and sends it back; sends each
    /// further message to all members of the room.
    Chat,
    /// Sends the message back, over TLS; not every server can.
    Tls,
}

const USAGE: &str = "arguments: PORT echo|fan|chat|tls";

/// Reads `PORT MODE`, listens, and prints `ready PORT` for the parent process.
pub fn start() -> Result<(TcpListener, Mode)> {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|port| port.parse().ok());
    let mode = match args.next().as_deref() {
        Some("echo") => Mode::Echo,
        Some("fan") => Mode::Fan,
        Some("chat") => Mode::Chat,
        Some("tls") => Mode::Tls,
        _ => bail!("{USAGE}"),
    };
    sys::raise_descriptor_limit();
    let listener = sys::listen(port.context(USAGE)?)?;
    println!("ready {}", listener.local_addr()?.port());
    Ok((listener, mode))
}

/// The answer to a complete request head; `None` without a key.
pub fn switching_protocols(head: &str) -> Option<String> {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        base64(&hash.digest().bytes())
    ))
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            text.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_of_rfc_6455_section_1_3() {
        let head = "GET /chat HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let answer = switching_protocols(head).expect("there is a key");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert_eq!(switching_protocols("GET / HTTP/1.1\r\n\r\n"), None);
    }
}
