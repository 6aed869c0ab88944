//! The client behind proxies, told by headers that only trusted proxies may set.

use http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Peers whose word about the client's address and scheme counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    nets: Vec<IpNet>,
    unix: bool,
}

/// Where a request comes from, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// `None` on a Unix socket. The port is 0 where a proxy has not told it.
    pub remote: Option<SocketAddr>,
    /// The client's own connection is encrypted.
    pub secure: bool,
}

impl TrustedProxies {
    /// Adds an address (`10.0.0.1`), a network (`10.0.0.0/8`, `fd00::/8`), or `unix:` for the peers
    /// of Unix sockets. False: it is none of these.
    pub fn add(&mut self, text: &str) -> bool {
        if text == "unix:" {
            self.unix = true;
            return true;
        }
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        // A network with bits set beyond its prefix is more likely an error than meant.
        let Some(net) = net.ok().filter(|n: &IpNet| n.addr() == n.network()) else { return false };
        self.nets.push(net);
        true
    }

    /// Nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && !self.unix
    }

    /// Whether the peer is one of them; `None` is the peer of a Unix socket.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(ip) => {
                let ip = ip.to_canonical();
                self.nets.iter().any(|net| net.contains(&ip))
            }
        }
    }

    /// The client that a request comes from in the end.
    ///
    /// From the nearest proxy outward, each address counts if the one that told it is trusted. So
    /// what a client writes into these headers by itself is never reached. `X-Forwarded-For` goes
    /// before `Forwarded` (RFC 7239): a proxy that sets the one passes the other through unseen.
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
        // The scheme as told by the proxy that told the address; one value speaks for all.
        let scheme =
            hops.schemes.len().checked_sub(depth.max(1)).or(hops.schemes.len().checked_sub(1).map(|_| 0));
        let secure = scheme.and_then(|at| hops.schemes[at]).unwrap_or(peer.secure);
        Origin { remote, secure }
    }
}

/// What proxies have added, the nearest one last.
struct Hops {
    /// `None` where it isn't an address (`unknown`, `_hidden`).
    from: Vec<Option<SocketAddr>>,
    /// Whether encrypted; `None` where it isn't known.
    schemes: Vec<Option<bool>>,
}

impl Hops {
    fn read(headers: &HeaderMap) -> Self {
        let list = |name| {
            let values = headers.get_all(name).iter().map(|v| v.to_str().unwrap_or(""));
            values.flat_map(|v| v.split(',')).map(str::trim).collect::<Vec<_>>()
        };
        let from = list("x-forwarded-for");
        let schemes = list("x-forwarded-proto").into_iter().map(is_secure).collect::<Vec<_>>();
        if !from.is_empty() {
            return Self { from: from.into_iter().map(address).collect(), schemes };
        }
        let forwarded: Vec<Element> =
            headers.get_all("forwarded").iter().flat_map(|v| elements(v.to_str().unwrap_or(""))).collect();
        let schemes = if schemes.is_empty() { forwarded.iter().map(|e| e.proto).collect() } else { schemes };
        Self { from: forwarded.iter().map(|e| e.from).collect(), schemes }
    }
}

fn is_secure(scheme: &str) -> Option<bool> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, 0)),
        Err(_) => text.parse().ok(),
    }
}

/// One proxy's part of a `Forwarded` header.
#[derive(Debug, Default)]
struct Element {
    from: Option<SocketAddr>,
    proto: Option<bool>,
}

/// `for=192.0.2.60;proto=http, for="[2001:db8::1]:80"` (RFC 7239 section 4). A part that is
/// malformed yields an element without an address, at which the search ends. So does one whose
/// quotes are not closed: a client may have opened them, to hide what the proxy has added behind
/// its own words.
fn elements(header: &str) -> Vec<Element> {
    let (parts, open) = split_quoted(header, b',');
    let mut elements: Vec<Element> = parts.into_iter().map(element).collect();
    if open && let Some(last) = elements.last_mut() {
        *last = Element::default();
    }
    elements
}

fn element(text: &str) -> Element {
    let mut element = Element::default();
    for pair in split_quoted(text, b';').0 {
        let Some((name, value)) = pair.trim().split_once('=') else { continue };
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
        match name.to_ascii_lowercase().as_str() {
            "for" => element.from = address(value),
            "proto" => element.proto = is_secure(value),
            _ => {}
        }
    }
    element
}

/// Splits at a separator outside of quotes. True: the last part has quotes that are not closed.
fn split_quoted(text: &str, separator: u8) -> (Vec<&str>, bool) {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
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

    const XFF: &str = "x-forwarded-for";
    const XFP: &str = "x-forwarded-proto";

    #[test]
    fn only_networks_and_addresses_are_taken() {
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
    fn nobody_else_is_believed() {
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
    fn forwarded_counts_where_there_is_no_x_forwarded_for() {
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
    fn the_scheme_is_that_of_the_same_hop() {
        let proxies = ["10.0.0.0/8"];
        let secure = |list: &[(&'static str, &str)]| origin(&proxies, "10.0.0.2:5", list).1;
        assert!(secure(&[(XFP, "https")]));
        assert!(secure(&[(XFF, "1.2.3.4, 10.1.1.1"), (XFP, "https")]));
        assert!(secure(&[(XFF, "1.2.3.4, 10.1.1.1"), (XFP, "https, http")]));
        assert!(!secure(&[(XFF, "6.6.6.6, 1.2.3.4"), (XFP, "https, http")]));
        assert!(!secure(&[(XFF, "1.2.3.4"), (XFP, "gopher")]));
        assert!(!secure(&[(XFP, "http")]));
    }

    /// CPU time of this thread for the cheapest of a few runs: others keep the machine busy.
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
    fn long_headers_cost_as_much_as_they_are_long() {
        let time = |name: &'static str, element: &str, count: usize| {
            let list = headers(&[(name, &vec![element; count].join(","))]);
            let peer = Origin { remote: "10.0.0.2:5".parse().ok(), secure: false };
            cpu_time(|| assert_ne!(trusted(&["10.0.0.0/8"]).origin(&list, peer), peer))
        };
        for (name, element) in [(XFF, "10.1.1.1"), ("forwarded", "for=\"10.1.1.1\";proto=http")] {
            let (one, other) = (time(name, element, 250), time(name, element, 16_000));
            // 64 times as much; a scan for each element would take 4,096 times as long.
            assert!(other < one * 800, "{name}: {one:?} {other:?}");
        }
    }
}
