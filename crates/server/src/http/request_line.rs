//! Finds a fragment in the target of a connection's first request.
//!
//! A request target has no fragment (RFC 9112 section 3.2). The http crate, with which hyper parses
//! targets, cuts a fragment off without notice.

/// A scan of the request line with which a connection begins, fed with each read until the target ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestLine {
    /// Nothing but empty lines has arrived.
    #[default]
    Empty,
    Method,
    Target,
    /// The target has ended, or the line is malformed.
    Over,
}

impl RequestLine {
    /// Scans the next bytes of the connection. Replaces the `#` that begins a fragment by NUL, so that
    /// hyper refuses the request as it refuses any other malformed request line.
    #[inline]
    pub(crate) fn scan(&mut self, bytes: &mut [u8]) {
        if *self != Self::Over {
            self.scan_on(bytes);
        }
    }

    fn scan_on(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *self = match (*self, *byte) {
                // A parser may skip empty lines before a request line (RFC 9112 section 2.2).
                (Self::Empty, b'\r' | b'\n') => Self::Empty,
                (Self::Method, b' ') => Self::Target,
                (Self::Target, b'#') => {
                    *byte = 0;
                    Self::Over
                }
                (Self::Target, b' ') | (_, b'\r' | b'\n') => Self::Over,
                // A method may contain `#` (RFC 9110 section 5.6.2).
                (Self::Empty, _) => Self::Method,
                (at, _) => at,
            };
            if *self == Self::Over {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The input after a scan in pieces of `size` bytes.
    fn scanned(input: &str, size: usize) -> String {
        let mut bytes = input.as_bytes().to_vec();
        let mut line = RequestLine::default();
        bytes.chunks_mut(size).for_each(|piece| line.scan(piece));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_fragment_is_replaced_and_nothing_else() {
        for (input, output) in [
            ("GET /a?b#c HTTP/1.1\r\n", "GET /a?b\0c HTTP/1.1\r\n"),
            ("GET /#\r\nX: #\r\n", "GET /\0\r\nX: #\r\n"),
            ("\r\n\r\nGET http://h#a HTTP/1.1\r\n", "\r\n\r\nGET http://h\0a HTTP/1.1\r\n"),
            ("GET / HTTP/1.1\r\nX: #\r\n\r\nGET /#", "GET / HTTP/1.1\r\nX: #\r\n\r\nGET /#"),
            ("#M / HTTP/1.1\r\nX: a #\r\n", "#M / HTTP/1.1\r\nX: a #\r\n"),
            ("GET\r\nX: a #\r\n", "GET\r\nX: a #\r\n"),
            ("GET / #\r\n", "GET / #\r\n"),
        ] {
            for size in 1..=input.len() {
                assert_eq!(scanned(input, size), output, "{input:?} in pieces of {size}");
            }
        }
    }
}
