//! The head of an HTTP request, kept in one allocation and parsed on demand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Maximum number of cookies of a request; further ones are ignored. With this limit, names chosen to
/// collide in the hash table of a PHP array cost about a millisecond; for the same purpose, PHP has
/// `max_input_vars`.
pub const MAX_COOKIES: usize = 1000;

/// Returns the separator by which several values of a header are joined.
fn separator(name: &str) -> &'static [u8] {
    if name == "cookie" { b"; " } else { b", " }
}

/// The head of a request, shared by the task that serves it and the host. Header names are kept in lower
/// case, values as bytes.
#[derive(Debug)]
pub struct Request {
    /// `METHOD SP TARGET LF`, then `name LF value LF` for each header.
    head: Box<[u8]>,
    /// The client's address, as trusted proxies report it.
    remote: Option<SocketAddr>,
    /// The server's address that the peer connected to.
    local: Option<SocketAddr>,
    secure: bool,
    version: http::Version,
    /// The verified certificate of the client, in DER.
    client_certificate: Option<Arc<Vec<u8>>>,
}

impl Request {
    /// Packs a parsed head into one allocation.
    pub fn new(
        parts: &http::request::Parts,
        remote: Option<SocketAddr>,
        local: Option<SocketAddr>,
        secure: bool,
    ) -> Self {
        let method = parts.method.as_str();
        let target = parts.uri.path_and_query().map_or(parts.uri.path(), |t| t.as_str());
        let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2);
        // The exact capacity, so that the boxed slice takes over the allocation.
        let mut head = Vec::with_capacity(method.len() + target.len() + 2 + fields.sum::<usize>());
        head.extend_from_slice(method.as_bytes());
        head.push(b' ');
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

    /// Adds the client's certificate, which the TLS handshake has verified.
    pub(crate) fn with_client_certificate(mut self, der: Option<Arc<Vec<u8>>>) -> Self {
        self.client_certificate = der;
        self
    }

    /// Number of bytes that the request occupies, including the client's certificate.
    pub(crate) fn size_with_certificate(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.client_certificate.as_ref().map_or(0, |der| der.len())
    }

    /// The method, such as `GET`; `CONNECT` for a WebSocket over HTTP/2 (RFC 8441 section 4).
    pub fn method(&self) -> &str {
        let line = self.line();
        line.split_once(' ').map_or(line, |(method, _)| method)
    }

    /// Path and query as sent, such as `/chat?room=1`.
    pub fn target(&self) -> &str {
        self.line().split_once(' ').map_or("/", |(_, target)| target)
    }

    /// The target up to the question mark, still percent-encoded.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or("/")
    }

    /// The part of the target after the question mark, still percent-encoded; empty without one.
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

    /// All headers in the order received, with names in lower case. A repeated header appears as often as
    /// it was sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut lines = self.head.split(|b| *b == b'\n').skip(1);
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(lines.next()?).ok()?;
            Some((name, lines.next()?))
        })
    }

    /// The value of the first header of this name, which is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// All headers, each name once, in the order of their first appearance. Several values of a header are
    /// joined according to RFC 9110 section 5.2, those of `cookie` according to RFC 9113 section 8.2.3.
    pub fn joined_headers(&self) -> Vec<(&str, Vec<u8>)> {
        let mut joined: Vec<(&str, Vec<u8>)> = Vec::new();
        let mut places = HashMap::new();
        for (name, value) in self.headers() {
            match places.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(joined.len());
                    joined.push((name, value.to_vec()));
                }
                Entry::Occupied(place) => {
                    let all = &mut joined[*place.get()].1;
                    all.extend_from_slice(separator(name));
                    all.extend_from_slice(value);
                }
            }
        }
        joined
    }

    /// The values of one header, joined as in [`Request::joined_headers`]. `name` must be in lower case.
    pub fn joined_header(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.headers().filter(|(n, _)| *n == name).map(|(_, value)| value);
        let mut joined = values.next()?.to_vec();
        for value in values {
            joined.extend_from_slice(separator(name));
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Names and values of the cookies (RFC 6265 section 4.2), still percent-encoded. If a name is
    /// repeated, its first cookie counts. At most [`MAX_COOKIES`] cookies are returned.
    pub fn cookies(&self) -> Vec<(&[u8], &[u8])> {
        let mut seen = HashSet::new();
        self.headers()
            .filter(|(name, _)| *name == "cookie")
            .flat_map(|(_, value)| value.split(|byte| *byte == b';'))
            .map(|pair| {
                let pair = pair.trim_ascii();
                let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
                (&pair[..equals], pair.get(equals + 1..).unwrap_or_default())
            })
            .filter(|(name, _)| !name.is_empty() && seen.insert(*name))
            .take(MAX_COOKIES)
            .collect()
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455 section 4.1).
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.headers()
            .filter(|(n, _)| *n == "sec-websocket-protocol")
            .filter_map(|(_, v)| std::str::from_utf8(v).ok())
            .flat_map(|v| v.split(','))
            .map(str::trim)
            .filter(|s| !s.is_empty())
    }

    /// The client's address. Behind a trusted proxy, this is the address that the proxy reports, with port 0
    /// if it reports none. `None` on a Unix socket.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// The server's address that the peer connected to; `None` on a Unix socket.
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

    /// Number of bytes that the request occupies, without the client's certificate, which other requests of
    /// the connection share.
    pub(crate) fn size_without_certificate(&self) -> usize {
        size_of::<Self>() + self.head.len()
    }

    fn line(&self) -> &str {
        let end = self.head.iter().position(|b| *b == b'\n').unwrap_or(self.head.len());
        std::str::from_utf8(&self.head[..end]).unwrap_or_default()
    }
}

/// Returns the CPU time of the cheapest of several runs, because other processes disturb single runs.
#[cfg(test)]
pub(crate) fn cpu_time(mut run: impl FnMut()) -> std::time::Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = || std::time::Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let once = |_| {
        let begun = now();
        run();
        now() - begun
    };
    (0..5).map(once).min().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, String)]) -> Request {
        let mut builder = http::Request::get("/");
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        Request::new(&builder.body(()).unwrap().into_parts().0, None, None, false)
    }

    #[test]
    fn the_first_cookie_of_a_name_counts_over_all_headers() {
        let cookie = |value: &str| ("cookie", value.to_owned());
        let request = request(&[cookie("a=1; b = 2;;=x; c"), cookie("a=3;d=\"q\"; d=5")]);
        let cookies: Vec<_> = request.cookies();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b ", b" 2"), (b"c", b""), (b"d", b"\"q\"")];
        assert_eq!(cookies, expected);
        assert_eq!(request.joined_header("cookie").unwrap(), b"a=1; b = 2;;=x; c; a=3;d=\"q\"; d=5");
        assert_eq!(request.joined_headers().len(), 1);
    }

    #[test]
    fn parsing_a_head_takes_time_linear_in_its_length() {
        let cookies = |count: usize| (0..count).map(|i| format!("k{i}")).collect::<Vec<_>>().join(";");
        let heads = |count| {
            let mut headers = vec![("cookie", cookies(count))];
            headers.extend((0..count / 8).map(|i| ("sec-websocket-protocol", format!("p{i}"))));
            request(&headers)
        };
        let (small, large) = (heads(1_000), heads(64_000));
        for part in [
            |r: &Request| r.cookies().len(),
            |r: &Request| r.joined_headers().len(),
            |r: &Request| r.subprotocols().count(),
        ] {
            let (one, other) = (cpu_time(|| _ = part(&small)), cpu_time(|| _ = part(&large)));
            // The input is 64 times as long; quadratic parsing would take 4,096 times as long.
            assert!(other < one * 800, "{one:?} {other:?}");
        }
        assert_eq!(large.cookies().len(), MAX_COOKIES);
    }
}
