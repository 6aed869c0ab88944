//! An HTTP request head, kept as one small block and read on demand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

/// Cookies of a request that count. Names that are made to collide in the hash table of PHP's
/// arrays then cost a millisecond; PHP itself has `max_input_vars` for that.
pub const MAX_COOKIES: usize = 1000;

fn separator(name: &str) -> &'static [u8] {
    if name == "cookie" { b"; " } else { b", " }
}

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

    /// All headers, each name once at its first place. Values of one name are joined as RFC 9110 section
    /// 5.2 says, those of `cookie` as RFC 9113 section 8.2.3 does.
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

    /// The values of one header, joined likewise. `name` is in lower case.
    pub fn joined_header(&self, name: &str) -> Option<Vec<u8>> {
        let mut values = self.headers().filter(|(n, _)| *n == name).map(|(_, value)| value);
        let mut joined = values.next()?.to_vec();
        for value in values {
            joined.extend_from_slice(separator(name));
            joined.extend_from_slice(value);
        }
        Some(joined)
    }

    /// Names and values of the cookies (RFC 6265 section 4.2), still percent-encoded. The first one of
    /// a name counts; beyond [`MAX_COOKIES`] names they are left out.
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

/// CPU time of this thread for the cheapest of a few runs: others keep the machine busy.
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
    fn the_parts_of_a_head_cost_as_much_as_they_are_long() {
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
            // 64 times as much; a scan for each item would take 4,096 times as long.
            assert!(other < one * 800, "{one:?} {other:?}");
        }
        assert_eq!(large.cookies().len(), MAX_COOKIES);
    }
}
