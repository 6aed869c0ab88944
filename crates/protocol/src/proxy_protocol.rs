//! The PROXY protocol, versions 1 and 2 (HAProxy, `doc/proxy-protocol.txt`). With it, a load balancer
//! reports the addresses of the client whose connection it forwards, in a header before the first byte
//! of the client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The first bytes of a version 2 header; no version 1 header begins with them.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Maximum size of a version 1 header in bytes, line end included.
const LONGEST_V1: usize = 107;
/// Maximum size of an accepted version 2 header in bytes: the addresses, and ample room for further
/// fields (TLS details, a certificate's name).
const LONGEST_V2: usize = 4096;

/// The content of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The header reports no client: the connection is the load balancer's own (a health check), or the
    /// client has no known IP address.
    Local,
    /// The connection of a client.
    Proxied {
        /// The client's address.
        source: SocketAddr,
        /// The address that the client connected to.
        destination: SocketAddr,
        /// Whether the client's connection to the load balancer is encrypted (version 2 only).
        secure: bool,
    },
}

/// Result of [`parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The header is incomplete. At least this number of bytes is missing; all of them belong to the
    /// header, so that reading them takes nothing from the data after it.
    Missing(usize),
    /// A complete header, and its size in bytes.
    Complete(ProxyHeader, usize),
    /// The input is not a header of either version.
    Malformed,
}

/// Parses the header at the start of `input`.
pub fn parse(input: &[u8]) -> Progress {
    if input.is_empty() {
        return Progress::Missing(SIGNATURE.len());
    }
    let known = input.len().min(SIGNATURE.len());
    if input[..known] == SIGNATURE[..known] {
        return v2(input);
    }
    let known = input.len().min(6);
    if input[..known] == b"PROXY "[..known] { v1(input) } else { Progress::Malformed }
}

/// Parses a header of version 1 (text).
fn v1(input: &[u8]) -> Progress {
    let Some(end) = input.iter().take(LONGEST_V1).position(|b| *b == b'\n') else {
        return match input.len() {
            // The shortest headers: `PROXY UNKNOWN\r\n`, `PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n`.
            n if n < 15 => Progress::Missing(15 - n),
            n if n < 32 && input.starts_with(b"PROXY TCP4") => Progress::Missing(32 - n),
            n if n < LONGEST_V1 => Progress::Missing(1),
            _ => Progress::Malformed,
        };
    };
    let line = input[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    let header = line.and_then(|line| {
        let mut words = line.strip_prefix("PROXY ")?.split(' ');
        let family = words.next()?;
        if family == "UNKNOWN" {
            return Some(ProxyHeader::Local);
        }
        let (source, destination) = (words.next()?, words.next()?);
        let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
        if words.next().is_some() {
            return None;
        }
        let (source, destination): (IpAddr, IpAddr) = match family {
            "TCP4" => (source.parse::<Ipv4Addr>().ok()?.into(), destination.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => (source.parse::<Ipv6Addr>().ok()?.into(), destination.parse::<Ipv6Addr>().ok()?.into()),
            _ => return None,
        };
        Some(ProxyHeader::Proxied {
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
            secure: false,
        })
    });
    header.map_or(Progress::Malformed, |header| Progress::Complete(header, end + 1))
}

/// Parses a decimal port without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Parses a header of version 2 (binary).
fn v2(input: &[u8]) -> Progress {
    let Some((head, rest)) = input.split_first_chunk::<16>() else {
        return Progress::Missing(16 - input.len());
    };
    let (version, family) = (head[12], head[13]);
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if version >> 4 != 2 || version & 0xf > 1 || length + 16 > LONGEST_V2 {
        return Progress::Malformed;
    }
    let Some(body) = rest.get(..length) else { return Progress::Missing(length - rest.len()) };
    let complete = |header| Progress::Complete(header, length + 16);
    // The command LOCAL: the rest of the header must be ignored.
    if version & 0xf == 0 {
        return complete(ProxyHeader::Local);
    }
    let (addresses, fields) = match family >> 4 {
        1 => (body.get(..12), body.get(12..)),
        2 => (body.get(..36), body.get(36..)),
        // An unspecified family or a Unix socket has no IP address.
        0 | 3 => return complete(ProxyHeader::Local),
        _ => return Progress::Malformed,
    };
    let (Some(addresses), Some(fields)) = (addresses, fields) else { return Progress::Malformed };
    let (source, destination) = if let Ok(b) = <[u8; 12]>::try_from(addresses) {
        let ip = |at: usize| IpAddr::from([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        (SocketAddr::new(ip(0), be(&b, 8)), SocketAddr::new(ip(4), be(&b, 10)))
    } else {
        let ip = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&addresses[at..at + 16]);
            IpAddr::from(octets)
        };
        (SocketAddr::new(ip(0), be(addresses, 32)), SocketAddr::new(ip(16), be(addresses, 34)))
    };
    match secure(fields) {
        Some(secure) => complete(ProxyHeader::Proxied { source, destination, secure }),
        None => Progress::Malformed,
    }
}

/// Reads a big-endian number of two bytes.
fn be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Searches the further fields for `PP2_TYPE_SSL` and returns whether the client's connection is
/// encrypted; `None` if the fields are malformed.
fn secure(mut fields: &[u8]) -> Option<bool> {
    const SSL: u8 = 0x20;
    const CLIENT_SSL: u8 = 1;
    let mut secure = false;
    while !fields.is_empty() {
        let (head, rest) = fields.split_first_chunk::<3>()?;
        let (value, rest) = rest.split_at_checked(usize::from(be(head, 1)))?;
        secure |= head[0] == SSL && value.first()? & CLIENT_SSL != 0;
        fields = rest;
    }
    Some(secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(source: &str, destination: &str, secure: bool) -> ProxyHeader {
        ProxyHeader::Proxied {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            secure,
        }
    }

    fn v2_header(version: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [SIGNATURE.as_slice(), &[version, family], &length, body].concat()
    }

    const TCP4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[test]
    fn version_1() {
        let ok = [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\r\n", proxied("192.0.2.1:8080", "10.0.0.1:80", false)),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", proxied("[2001:db8::1]:1", "[::1]:2", false)),
            ("PROXY UNKNOWN\r\n", ProxyHeader::Local),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ProxyHeader::Local),
        ];
        for (text, header) in ok {
            let more = [text.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&more), Progress::Complete(header, text.len()), "{text}");
        }
        for text in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 8080 80\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 80\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 01 80\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY  TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY \r\n        ",
        ] {
            assert_eq!(parse(text.as_bytes()), Progress::Malformed, "{text}");
        }
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'x'; 101]].concat()), Progress::Malformed);
    }

    #[test]
    fn version_2() {
        let header = proxied("192.0.2.1:8080", "10.0.0.1:80", false);
        assert_eq!(parse(&v2_header(0x21, 0x11, &TCP4)), Progress::Complete(header, 28));
        let mut six = [0u8; 36];
        (six[15], six[31], six[33], six[35]) = (1, 2, 3, 4);
        let header = proxied("[::1]:3", "[::2]:4", false);
        assert_eq!(parse(&v2_header(0x21, 0x21, &six)), Progress::Complete(header, 52));
        let ssl = [TCP4.as_slice(), &[4, 0, 0, 0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
        let header = proxied("192.0.2.1:8080", "10.0.0.1:80", true);
        assert_eq!(parse(&v2_header(0x21, 0x11, &ssl)), Progress::Complete(header, 39));
        assert_eq!(parse(&v2_header(0x20, 0, b"whatever")), Progress::Complete(ProxyHeader::Local, 24));
        assert_eq!(parse(&v2_header(0x21, 0, &[])), Progress::Complete(ProxyHeader::Local, 16));

        let truncated_field = [TCP4.as_slice(), &[4, 0, 9, 0]].concat();
        for bad in [
            v2_header(0x31, 0x11, &TCP4),
            v2_header(0x22, 0x11, &TCP4),
            v2_header(0x21, 0x41, &TCP4),
            v2_header(0x21, 0x11, &TCP4[..11]),
            v2_header(0x21, 0x21, &TCP4),
            v2_header(0x21, 0x11, &truncated_field),
            v2_header(0x21, 0x11, &[0; LONGEST_V2]),
        ] {
            assert_eq!(parse(&bad), Progress::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_missing_bytes_never_exceeds_the_header() {
        let v2 = v2_header(0x21, 0x11, &TCP4);
        for header in [v2.as_slice(), b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n", b"PROXY UNKNOWN\r\n"] {
            for n in 0..header.len() {
                match parse(&header[..n]) {
                    Progress::Missing(more) => assert!(more > 0 && n + more <= header.len(), "{n}+{more}"),
                    other => panic!("{other:?} after {n}"),
                }
            }
        }
    }

    #[test]
    fn damaged_headers_never_panic() {
        // A xorshift generator, which yields the same bytes in every run.
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        for round in 0..20_000 {
            let mut input = v2_header(0x21, if round % 2 == 0 { 0x11 } else { 0x21 }, &[0; 60]);
            for _ in 0..1 + round % 5 {
                let at = 12 + usize::from(byte()) % (input.len() - 12);
                input[at] = byte();
            }
            input.truncate(12 + usize::from(byte()) % input.len());
            if let Progress::Complete(_, n) = parse(&input) {
                assert!(n <= input.len());
            }
        }
    }
}
