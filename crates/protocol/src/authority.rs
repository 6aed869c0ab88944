//! The authority `host[:port]` (RFC 3986 section 3.2), as in the `Host` header, `:authority`, request
//! targets, origins, and the addresses of listeners and brokers.

use std::net::Ipv6Addr;

/// A host with an optional port. The comparison ignores differences of notation: names are compared
/// without regard to case, IPv6 addresses by value. A trailing dot makes a different name, as in
/// browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The host, possibly empty.
    pub host: Host,
    /// The port; `None` stands for the default port of the scheme.
    pub port: Option<u16>,
}

/// The host of an [`Authority`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// In lower case; may be empty, and an IPv4 address.
    Name(Box<str>),
    /// The address between brackets.
    V6(Ipv6Addr),
}

impl Host {
    /// Whether the authority names no host.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Name(name) if name.is_empty())
    }
}

impl Authority {
    /// Parses the whole of `text`. Returns `None` if it violates the grammar, or has user information
    /// (RFC 9110 section 4.2.4), a zone, or a port above 65535.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (literal(address)?, port),
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                (is_name(name).then(|| Host::Name(name.to_ascii_lowercase().into()))?, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// Returns the host, without brackets, and the port, for use as a socket address. Returns `None` if
    /// the host is empty or has characters that neither an IP address nor the name of a machine has.
    pub fn socket(self) -> Option<(String, Option<u16>)> {
        let host = match self.host {
            Host::V6(address) => address.to_string(),
            Host::Name(name) => String::from(name),
        };
        let is_machine = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        (is_machine && !host.is_empty()).then_some((host, self.port))
    }

    /// Returns the port that applies under a scheme; `None` if there is neither a port nor a default.
    pub fn port_for(&self, scheme: &str) -> Option<u16> {
        self.port.or_else(|| default_port(scheme))
    }
}

/// Returns the default port of a scheme (RFC 9110 section 4.2, RFC 6455 section 3).
pub fn default_port(scheme: &str) -> Option<u16> {
    let is = |known: &str| scheme.eq_ignore_ascii_case(known);
    match scheme {
        _ if is("http") || is("ws") => Some(80),
        _ if is("https") || is("wss") => Some(443),
        _ => None,
    }
}

/// Parses the text between brackets: an IPv6 address, or an address of a future version.
fn literal(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse() {
        return Some(Host::V6(address));
    }
    let (version, address) = text.strip_prefix(['v', 'V'])?.split_once('.')?;
    let is_future = !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_hexdigit())
        && !address.is_empty()
        && address.bytes().all(|b| is_plain(b) || b == b':');
    is_future.then(|| Host::Name(format!("[{}]", text.to_ascii_lowercase()).into()))
}

/// Whether the text is a `reg-name` (RFC 3986 section 3.2.2), which includes IPv4 addresses.
fn is_name(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => tail,
            (b, tail) if is_plain(*b) => tail,
            _ => return false,
        };
    }
    true
}

/// Whether the byte belongs to `unreserved` or `sub-delims` (RFC 3986 section 2).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_within_the_grammar_are_parsed() {
        for (text, host, port) in [
            ("example.com", "example.com", None),
            ("EXAMPLE.com:8080", "example.com", Some(8080)),
            ("a_b-c.d~e", "a_b-c.d~e", None),
            ("127.0.0.1:0080", "127.0.0.1", Some(80)),
            ("example.com.", "example.com.", None),
            ("example.com:", "example.com", None),
            ("a%C3%A9", "a%c3%a9", None),
            ("[v1.fe80:a]:1", "[v1.fe80:a]", Some(1)),
            ("", "", None),
        ] {
            let expected = Authority { host: Host::Name(host.into()), port };
            assert_eq!(Authority::parse(text), Some(expected), "{text}");
        }
        let loopback = Authority { host: Host::V6(Ipv6Addr::LOCALHOST), port: Some(80) };
        assert_eq!(Authority::parse("[::1]:80").as_ref(), Some(&loopback));
        assert_eq!(Authority::parse("[0:0:0:0:0:0:0:1]:80"), Some(loopback));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a@b",
            "user:pass@host",
            "a\\b",
            "a%2",
            "a%zz",
            "a:80:90",
            "a:b",
            "a:-1",
            "a:65536",
            "a:+80",
            "::1",
            "[::1",
            "::1]",
            "[::1]a",
            "[fe80::1%25eth0]",
            "[1.2.3.4]",
            "[v.x]",
            "[]",
            "caf\u{e9}",
            "a\"",
            "<a>",
            "a,b/",
        ] {
            assert_eq!(Authority::parse(text), None, "{text}");
        }
    }

    #[test]
    fn socket_addresses_have_a_host_that_can_be_resolved() {
        for (text, expected) in [
            ("A_b-c.d:80", Some(("a_b-c.d", Some(80)))),
            ("127.0.0.1", Some(("127.0.0.1", None))),
            ("[0:0::1]:0", Some(("::1", Some(0)))),
            (":80", None),
            ("a%41:80", None),
            ("a,b", None),
            ("[v1.fe80:a]:1", None),
        ] {
            let socket = Authority::parse(text).and_then(Authority::socket);
            assert_eq!(socket, expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }
}
