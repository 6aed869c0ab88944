//! Log lines about sockets that were closed or refused before the host saw a request.

use std::io::Error;
use std::net::SocketAddr;

use super::line::{Level, Line, LineKind, peer_of};

/// The reason for which a socket was closed or could not be accepted.
#[derive(Debug)]
pub(crate) enum SocketFailure<'a> {
    /// `accept()` failed, usually because the descriptor limit was reached.
    Accept(&'a Error),
    /// A socket without a WebSocket was closed to make room for a new one.
    Displaced,
    /// The number of sockets without a WebSocket from this address has reached `maxHandshakesPerIp`.
    Address,
    /// The TLS handshake failed.
    Tls(&'a Error),
    /// The PROXY header is malformed, or its sender is not trusted.
    Proxy(&'a Error),
    /// A handshake, in one of its phases, took longer than `handshakeTimeout`.
    Timeout,
    /// The head of a request is malformed.
    Malformed,
    /// The head of a request is larger than `maxHeaderSize`.
    HeaderSize,
    /// The peer violates HTTP/2, or cancels its requests too often.
    Http2(&'a str),
}

impl SocketFailure<'_> {
    /// The kind of the log line.
    pub(crate) fn kind(&self) -> LineKind {
        match self {
            Self::Accept(_) => LineKind::new(Level::Error, "accept.failed", ""),
            Self::Displaced => LineKind::new(Level::Warning, "handshake.displaced", "maxHandshakes"),
            Self::Address => LineKind::new(Level::Warning, "socket.refused", "maxHandshakesPerIp"),
            Self::Tls(_) => LineKind::new(Level::Info, "tls.failed", ""),
            Self::Proxy(_) => LineKind::new(Level::Warning, "proxy.failed", "trustedProxies"),
            Self::Timeout => LineKind::new(Level::Info, "handshake.timeout", "handshakeTimeout"),
            Self::Malformed => LineKind::new(Level::Info, "request.malformed", ""),
            Self::HeaderSize => LineKind::new(Level::Info, "request.refused", "maxHeaderSize"),
            Self::Http2(_) => LineKind::new(Level::Notice, "http2.failed", ""),
        }
    }

    /// Returns the log line about the socket of this peer.
    pub(crate) fn line(&self, remote: Option<SocketAddr>) -> Line {
        let peer = peer_of(remote);
        let why = match self {
            Self::Accept(error) => {
                return Line::new(format!("A connection cannot be accepted: {error}"))
                    .with("reason", error.to_string().as_str());
            }
            Self::Displaced => {
                let why = "the number of sockets without a WebSocket has reached the limit set by the \
                    option maxHandshakes or by the number of descriptors";
                return Line::new(format!("Closed a socket that was waiting for its peer: {why}"))
                    .with("reason", why);
            }
            Self::Address => {
                "the number of sockets without a WebSocket from this address has reached the limit set by \
                 the option maxHandshakesPerIp"
                    .to_owned()
            }
            Self::Tls(error) => format!("the TLS handshake failed: {error}"),
            Self::Proxy(error) => format!("the PROXY header was refused: {error}"),
            Self::Timeout => "the handshake took longer than the option handshakeTimeout allows".to_owned(),
            Self::Malformed => "the request is malformed".to_owned(),
            Self::HeaderSize => "the request head is larger than the option maxHeaderSize allows".to_owned(),
            Self::Http2(why) => format!("HTTP/2: {why}"),
        };
        let line = Line::new(format!("Socket from {peer} closed: {why}")).from(remote);
        let line = line.with("reason", why.as_str());
        match self {
            Self::Malformed => line.with("status", 400),
            Self::HeaderSize => line.with("status", 431),
            _ => line,
        }
    }
}
