//! Determines the client behind reverse proxies from the headers `X-Forwarded-For`, `X-Forwarded-Proto`
//! and `Forwarded`. Only the headers of trusted proxies count, since any client can send these headers,
//! too.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The reverse proxies whose headers about the client's address and scheme are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    nets: Vec<IpNet>,
    unix: bool,
}

/// The client that sent a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Address of the client; `None` on a Unix socket. The port is 0 if a proxy reported an address
    /// without one.
    pub remote: Option<SocketAddr>,
    /// Whether the client's own connection is encrypted.
    pub secure: bool,
}

impl TrustedProxies {
    /// Adds an address (`10.0.0.1`), a network (`10.0.0.0/8`, `fd00::/8`), or `unix:` for the peers of
    /// Unix sockets. Returns false if `text` is none of these.
    pub fn add(&mut self, text: &str) -> bool {
        if text == "unix:" {
            self.unix = true;
            return true;
        }
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        // A network with bits set beyond its prefix is more likely a typing error than intended.
        let Some(net) = net.ok().filter(|n: &IpNet| n.addr() == n.network()) else { return false };
        self.nets.push(net);
        true
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && !self.unix
    }

    /// Whether the peer is a trusted proxy. `None` stands for the peer of a Unix socket.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(ip) => {
                let ip = ip.to_canonical();
                self.nets.iter().any(|net| net.contains(&ip))
            }
        }
    }

    /// Returns the client that sent the request.
    ///
    /// The addresses are followed from the nearest proxy outward; each one counts if the proxy that
    /// added it is trusted. Addresses that the client itself has written into a header are therefore
    /// never reached. `X-Forwarded-For` takes precedence over `Forwarded` (RFC 7239): a proxy that sets
    /// the one passes the other on unchecked.
    pub fn origin(&self, headers: &HeaderMap, peer: Origin) -> Origin {
        if self.is_empty() || !self.contains(peer.remote.map(|a| a.ip())) {
            return peer;
        }
        let hops = Hops::read(headers);
        let mut remote = peer.remote;
        let mut depth = 0;
        for hop in hops.from.iter().rev() {
            let Some(address) = *hop else { break };
            remote = Some(address);
            depth += 1;
            if !self.contains(Some(address.ip())) {
                break;
            }
        }
        // The scheme comes from the proxy that added the address. If there are fewer schemes than
        // addresses, the first one counts.
        let scheme =
            hops.schemes.len().checked_sub(depth.max(1)).or(hops.schemes.len().checked_sub(1).map(|_| 0));
        let secure = scheme.and_then(|at| hops.schemes[at]).unwrap_or(peer.secure);
        Origin { remote, secure }
    }
}

/// The entries added by the proxies, in the order of the headers: the nearest proxy is the last one.
struct Hops {
    /// Address of each hop; `None` if the entry is no address (`unknown`, `_hidden`).
    from: Vec<Option<SocketAddr>>,
    /// Whether the connection to each hop was encrypted; `None` if it is not known.
    schemes: Vec<Option<bool>>,
}

impl Hops {
    /// Reads the headers of a request.
    fn read(headers: &HeaderMap) -> Self {
        // Each entry is decoded by itself: a client may have sent the first ones, and bytes in them that
        // are no text must not hide those that proxies append.
        let list = |name| {
            let entries = headers.get_all(name).iter().flat_map(|v| v.as_bytes().split(|b| *b == b','));
            entries.map(|entry| text(entry).trim()).collect::<Vec<_>>()
        };
        let from = list("x-forwarded-for");
        let schemes = list("x-forwarded-proto").into_iter().map(is_secure).collect::<Vec<_>>();
        if !from.is_empty() {
            return Self { from: from.into_iter().map(address).collect(), schemes };
        }
        let forwarded: Vec<Element> =
            headers.get_all("forwarded").iter().flat_map(|v| elements(v.as_bytes())).collect();
        let schemes = if schemes.is_empty() { forwarded.iter().map(|e| e.proto).collect() } else { schemes };
        Self { from: forwarded.iter().map(|e| e.from).collect(), schemes }
    }
}

/// Decodes a part of a header; bytes that are not UTF-8 yield an empty text, which is no address.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Whether the scheme stands for an encrypted connection; `None` if it is unknown.
fn is_secure(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

/// Parses an address in one of the forms that proxies use: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`. The zone of an IPv6 address (`fe80::1%eth0`, RFC 4007 section 11)
/// is dropped: it names an interface of the proxy.
fn address(text: &str) -> Option<SocketAddr> {
    if let Some(zone) = text.find('%').filter(|zone| !text[..*zone].contains(']')) {
        let end = text[zone..].find(']').map_or(text.len(), |at| zone + at);
        let without = [&text[..zone], &text[end..]].concat();
        return plain_address(&without).filter(SocketAddr::is_ipv6);
    }
    plain_address(text)
}

/// Parses an address without a zone.
fn plain_address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 0)),
        Err(_) => text.parse().ok(),
    }
}

/// The element of a `Forwarded` header that one proxy has added.
#[derive(Debug, Default)]
struct Element {
    from: Option<SocketAddr>,
    proto: Option<bool>,
}

/// Parses a header such as `for=192.0.2.60;proto=http, for="[2001:db8::1]:80"` (RFC 7239 section 4). A
/// malformed element yields one without an address, which ends the search. So does an element with an
/// unterminated quote: a client may have opened it to hide the elements that the proxy appends.
fn elements(header: &[u8]) -> Vec<Element> {
    let (parts, open) = split_quoted(header, b',');
    let mut elements: Vec<Element> = parts.into_iter().map(element).collect();
    if open && let Some(last) = elements.last_mut() {
        *last = Element::default();
    }
    elements
}

/// Parses one element. Pairs that are not UTF-8 are skipped like unknown ones.
fn element(bytes: &[u8]) -> Element {
    let mut element = Element::default();
    for pair in split_quoted(bytes, b';').0 {
        let Some((name, value)) = text(pair).trim().split_once('=') else { continue };
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "for" => element.from = address(value),
            "proto" => element.proto = is_secure(value),
            _ => {}
        }
    }
    element
}

/// Splits at each separator outside quotes. Also returns whether the last part has an unterminated
/// quote.
fn split_quoted(text: &[u8], separator: u8) -> (Vec<&[u8]>, bool) {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.iter().enumerate() {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b if b == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (parts, quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(list: &[&str]) -> TrustedProxies {
        let mut trusted = TrustedProxies::default();
        list.iter().for_each(|text| assert!(trusted.add(text), "{text}"));
        trusted
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn origin(proxies: &[&str], peer: &str, list: &[(&'static str, &str)]) -> (String, bool) {
        let peer = Origin { remote: peer.parse().ok(), secure: false };
        let origin = trusted(proxies).origin(&headers(list), peer);
        (origin.remote.map(|a| a.to_string()).unwrap_or_default(), origin.secure)
    }

    /// Like `origin`, with a header whose value need not be text. Returns the address alone.
    fn origin_of_bytes(name: &'static str, value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
        let peer = Origin { remote: "10.0.0.2:5".parse().ok(), secure: false };
        trusted(&["10.0.0.0/8"]).origin(&headers, peer).remote.unwrap().to_string()
    }

    const XFF: &str = "x-forwarded-for";
    const XFP: &str = "x-forwarded-proto";

    #[test]
    fn only_networks_and_addresses_are_accepted() {
        for text in ["", "example.com", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "::/129", "*"] {
            assert!(!TrustedProxies::default().add(text), "{text}");
        }
        let all = trusted(&["10.0.0.0/8", "192.0.2.1", "fd00::/8", "unix:"]);
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(all.contains(ip.parse().ok()), inside, "{ip}");
        }
        assert!(all.contains(None));
        assert!(!trusted(&["10.0.0.0/8"]).contains(None));
    }

    #[test]
    fn headers_of_untrusted_peers_are_ignored() {
        for list in
            [[(XFF, "1.2.3.4"), (XFP, "https")], [("forwarded", "for=1.2.3.4;proto=https"), (XFP, "https")]]
        {
            assert_eq!(origin(&["10.0.0.1"], "10.0.0.2:5", &list), ("10.0.0.2:5".into(), false));
            assert_eq!(origin(&[], "10.0.0.2:5", &list), ("10.0.0.2:5".into(), false));
        }
    }

    #[test]
    fn the_first_address_that_is_not_a_proxy_counts() {
        let proxies = ["10.0.0.0/8"];
        for (value, expected) in [
            ("1.2.3.4", "1.2.3.4:0"),
            ("1.2.3.4:80", "1.2.3.4:80"),
            ("6.6.6.6, 1.2.3.4", "1.2.3.4:0"),
            ("6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4:0"),
            ("10.9.9.9, 10.1.1.1", "10.9.9.9:0"),
            ("6.6.6.6, unknown", "10.0.0.2:5"),
            ("6.6.6.6, unknown, 10.1.1.1", "10.1.1.1:0"),
            ("", "10.0.0.2:5"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("1.2.3.4, <script>", "10.0.0.2:5"),
        ] {
            assert_eq!(origin(&proxies, "10.0.0.2:5", &[(XFF, value)]).0, expected, "{value}");
        }
        let twice = [(XFF, "6.6.6.6"), (XFF, "1.2.3.4")];
        assert_eq!(origin(&proxies, "10.0.0.2:5", &twice).0, "1.2.3.4:0");
    }

    #[test]
    fn bytes_of_a_client_that_are_no_text_do_not_hide_what_proxies_append() {
        for (name, value, expected) in [
            (XFF, &b"\xff, 1.2.3.4"[..], "1.2.3.4:0"),
            (XFF, b"6.6.6.6\x80, 1.2.3.4, 10.1.1.1", "1.2.3.4:0"),
            (XFF, b"1.2.3.4\xff", "10.0.0.2:5"),
            ("forwarded", b"for=\xff, for=1.2.3.4", "1.2.3.4:0"),
            ("forwarded", b"for=6.6.6.6;x=\"\xff\", for=1.2.3.4;x=\"\xff\"", "1.2.3.4:0"),
        ] {
            assert_eq!(origin_of_bytes(name, value), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn the_zone_of_an_address_is_dropped() {
        for (text, expected) in [
            ("fe80::1%eth0", Some("[fe80::1]:0")),
            ("[fe80::1%25eth0]", Some("[fe80::1]:0")),
            ("[fe80::1%2]:80", Some("[fe80::1]:80")),
            ("1.2.3.4%eth0", None),
            ("[fe80::1]%eth0", None),
            ("%eth0", None),
            ("[%]", None),
        ] {
            assert_eq!(address(text).map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn forwarded_is_used_without_x_forwarded_for() {
        let proxies = ["10.0.0.0/8"];
        for (value, expected) in [
            ("for=1.2.3.4;proto=https;by=10.0.0.2", ("1.2.3.4:0", true)),
            ("For=\"[2001:db8:cafe::17]:4711\"", ("[2001:db8:cafe::17]:4711", false)),
            ("for=6.6.6.6, for=1.2.3.4;proto=https, for=10.1.1.1;proto=http", ("1.2.3.4:0", true)),
            ("for=\"6.6.6.6, for=7.7.7.7\", for=1.2.3.4", ("1.2.3.4:0", false)),
            ("for=_hidden", ("10.0.0.2:5", false)),
            ("for=\"unterminated, for=1.2.3.4", ("10.0.0.2:5", false)),
            ("for=6.6.6.6;proto=https;x=\", for=1.2.3.4", ("10.0.0.2:5", false)),
            ("for=6.6.6.6;x=\", for=\"[2001:db8::1]:80\"", ("10.0.0.2:5", false)),
            ("for=6.6.6.6;x=\"\\\", for=1.2.3.4", ("10.0.0.2:5", false)),
        ] {
            let (remote, secure) = origin(&proxies, "10.0.0.2:5", &[("forwarded", value)]);
            assert_eq!((remote.as_str(), secure), expected, "{value}");
        }
        let both = [("forwarded", "for=6.6.6.6;proto=https"), (XFF, "1.2.3.4")];
        assert_eq!(origin(&proxies, "10.0.0.2:5", &both), ("1.2.3.4:0".into(), false));
    }

    #[test]
    fn the_scheme_comes_from_the_same_hop_as_the_address() {
        let proxies = ["10.0.0.0/8"];
        let secure = |list: &[(&'static str, &str)]| origin(&proxies, "10.0.0.2:5", list).1;
        assert!(secure(&[(XFP, "https")]));
        assert!(secure(&[(XFF, "1.2.3.4, 10.1.1.1"), (XFP, "https")]));
        assert!(secure(&[(XFF, "1.2.3.4, 10.1.1.1"), (XFP, "https, http")]));
        assert!(!secure(&[(XFF, "6.6.6.6, 1.2.3.4"), (XFP, "https, http")]));
        assert!(!secure(&[(XFF, "1.2.3.4"), (XFP, "gopher")]));
        assert!(!secure(&[(XFP, "http")]));
    }

    /// Returns the lowest CPU time of this thread over a few runs, which other load on the machine
    /// hardly affects.
    fn cpu_time(run: impl Fn()) -> std::time::Duration {
        use rustix::time::{ClockId, clock_gettime};
        let now = || std::time::Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
        let once = |_| {
            let start = now();
            run();
            now() - start
        };
        (0..5).map(once).min().unwrap()
    }

    #[test]
    fn the_cost_of_a_header_is_linear_in_its_length() {
        let time = |name: &'static str, element: &str, count: usize| {
            let list = headers(&[(name, &vec![element; count].join(","))]);
            let peer = Origin { remote: "10.0.0.2:5".parse().ok(), secure: false };
            cpu_time(|| assert_ne!(trusted(&["10.0.0.0/8"]).origin(&list, peer), peer))
        };
        for (name, element) in [(XFF, "10.1.1.1"), ("forwarded", "for=\"10.1.1.1\";proto=http")] {
            let (one, other) = (time(name, element, 250), time(name, element, 16_000));
            // The input is 64 times as long; a quadratic search would take 4,096 times as long.
            assert!(other < one * 800, "{name}: {one:?} {other:?}");
        }
    }
}
