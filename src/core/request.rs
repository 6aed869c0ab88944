//! An HTTP request head, kept as one small block and read on demand.

use std::net::SocketAddr;
use std::sync::Arc;

/// A request head. Header names are kept in lower case, values as bytes.
#[derive(Debug)]
pub struct Request {
    /// `METHOD SP TARGET LF`, then `name LF value LF` for each header.
    head: Box<[u8]>,
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    secure: bool,
    version: http::Version,
    client_certificate: Option<Arc<Vec<u8>>>,
}

impl Request {
    /// Packs a parsed head.
    pub fn new(
        parts: &http::request::Parts,
        remote: Option<SocketAddr>,
        local: Option<SocketAddr>,
        secure: bool,
    ) -> Self {
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(parts.method.as_str().as_bytes());
        head.push(b' ');
        let target = parts.uri.path_and_query().map_or(parts.uri.path(), |t| t.as_str());
        head.extend_from_slice(target.as_bytes());
        head.push(b'\n');
        for (name, value) in &parts.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.push(b'\n');
            head.extend_from_slice(value.as_bytes());
            head.push(b'\n');
        }
        let head = head.into_boxed_slice();
        Self { head, remote, local, secure, version: parts.version, client_certificate: None }
    }

    /// The same with the certificate that the client has proved to be its own.
    pub(crate) fn with_client_certificate(mut self, der: Option<Arc<Vec<u8>>>) -> Self {
        self.client_certificate = der;
        self
    }

    /// Bytes that it takes up.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.client_certificate.as_ref().map_or(0, |der| der.len())
    }

    /// `GET`, …; `CONNECT` for a WebSocket over HTTP/2 (RFC 8441 section 4).
    pub fn method(&self) -> &str {
        let line = self.line();
        line.split_once(' ').map_or(line, |(method, _)| method)
    }

    /// Path and query as sent, `/chat?room=1`.
    pub fn target(&self) -> &str {
        self.line().split_once(' ').map_or("/", |(_, target)| target)
    }

    /// The target up to the question mark, still percent-encoded.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or("/")
    }

    /// What follows the question mark, still encoded; empty without one.
    pub fn query(&self) -> &str {
        self.target().split_once('?').map_or("", |(_, query)| query)
    }

    /// The version of HTTP: `1.0`, `1.1` or `2`.
    pub fn version(&self) -> &'static str {
        match self.version {
            http::Version::HTTP_10 => "1.0",
            http::Version::HTTP_2 => "2",
            _ => "1.1",
        }
    }

    /// All headers in the order received; a repeated name comes repeatedly. Names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut lines = self.head.split(|b| *b == b'\n').skip(1);
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(lines.next()?).ok()?;
            Some((name, lines.next()?))
        })
    }

    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// The subprotocols that the client offers, its favourite first (RFC 6455 section 4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers()
            .filter(|(n, _)| *n == "sec-websocket-protocol")
            .filter_map(|(_, v)| std::str::from_utf8(v).ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .filter(|s| !s.is_empty())
    }

    /// The client; behind a trusted proxy, what that says, with port 0 where it doesn't say it.
    /// `None` on a Unix socket.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Our own address that the peer connected to; `None` on a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// The client's certificate in DER, verified against [`Tls::client_ca`](crate::Tls).
    pub fn client_certificate(&self) -> Option<&[u8]> {
        self.client_certificate.as_deref().map(Vec::as_slice)
    }

    /// Whether the connection is encrypted (`wss`, `https`).
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// About what it takes up in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.head.len()
    }

    fn line(&self) -> &str {
        let end = self.head.iter().position(|b| *b == b'\n').unwrap_or(self.head.len());
        std::str::from_utf8(&self.head[..end]).unwrap_or_default()
    }
}
