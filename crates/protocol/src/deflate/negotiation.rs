//! Negotiation of permessage-deflate (RFC 7692 section 7.1) in `Sec-WebSocket-Extensions`.

/// The server's settings for compression with clients that offer permessage-deflate (RFC 7692).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Minimum size in bytes of a message to compress; smaller messages hardly shrink.
    pub threshold: usize,
    /// Compression level, from 1 (fastest) to 9 (smallest output).
    pub level: u8,
    /// Base-2 logarithm of the size of the server's compression window, 9 to 15.
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the size of the client's window, 9 to 15, for clients that support a limit.
    /// It saves memory in the client, not in the server.
    pub client_max_window_bits: u8,
    /// Whether each connection keeps its windows between messages (context takeover). This makes small,
    /// similar messages smaller and costs several hundred KiB a connection. If false, all connections
    /// of an I/O thread share one compressor and each message is compressed independently.
    pub context_takeover: bool,
    /// Maximum total size in bytes of the windows that connections keep. A connection that would exceed
    /// it uses no context takeover.
    pub max_context_memory: usize,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            threshold: 1024,
            level: 1,
            server_max_window_bits: 15,
            client_max_window_bits: 15,
            context_takeover: false,
            max_context_memory: 64 << 20,
        }
    }
}

/// The parameters negotiated in a handshake (RFC 7692 section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The server clears its window after each message.
    pub server_no_context_takeover: bool,
    /// The client clears its window after each message.
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the server's window, 8 to 15.
    pub server_max_window_bits: u8,
    /// Base-2 logarithm of the client's window, 8 to 15.
    pub client_max_window_bits: u8,
}

/// The kind of compressed messages that the peer may send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compressed {
    /// No compressed messages: the extension was not negotiated.
    #[default]
    Never,
    /// Compressed messages that are independent of each other ("no context takeover").
    Alone,
    /// Compressed messages that refer to earlier ones: the peer keeps its window, and so does the
    /// decoder.
    WithContext,
}

/// The header violates the syntax of RFC 6455 section 9.1; the handshake must fail.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// One extension in a client's header, with its parameters.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    name: String,
    params: Vec<(String, Option<String>)>,
}

/// The parameters of an acceptable offer; `None` for those that the offer does not contain.
#[derive(Debug, Default)]
struct Requested {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some` if the client supports a limit; the inner value is the limit that it offers to keep by
    /// itself.
    client_max_window_bits: Option<Option<u8>>,
}

/// Negotiates the parameters of the first acceptable offer in the values of a request's
/// `Sec-WebSocket-Extensions` headers. Returns `None` if no offer is acceptable; the connection then
/// uses no compression.
///
/// # Errors
/// [`Malformed`] if any value is malformed, even after an acceptable offer.
pub fn negotiate<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    ours: &Compression,
) -> Result<Option<Params>, Malformed> {
    let mut first = None;
    for value in values {
        for offer in parse(value)? {
            if first.is_none() && offer.name.eq_ignore_ascii_case("permessage-deflate") {
                first = requested(&offer.params).map(|requested| agree(&requested, ours));
            }
        }
    }
    Ok(first)
}

/// Combines the parameters of an offer with the server's settings.
fn agree(requested: &Requested, ours: &Compression) -> Params {
    let client_bits = match requested.client_max_window_bits {
        Some(theirs) => theirs.unwrap_or(15).min(ours.client_max_window_bits),
        // A client that does not send this parameter does not support a limit.
        None => 15,
    };
    Params {
        server_no_context_takeover: requested.server_no_context_takeover || !ours.context_takeover,
        client_no_context_takeover: requested.client_no_context_takeover || !ours.context_takeover,
        server_max_window_bits: requested
            .server_max_window_bits
            .unwrap_or(15)
            .min(ours.server_max_window_bits),
        client_max_window_bits: client_bits,
    }
}

impl Params {
    /// Returns the same parameters without context takeover on either side.
    #[must_use]
    pub fn without_takeover(self) -> Self {
        Self { server_no_context_takeover: true, client_no_context_takeover: true, ..self }
    }

    /// Returns the value of `Sec-WebSocket-Extensions` for the response. It omits a window of 15 bits,
    /// the default.
    #[must_use]
    pub fn answer(&self) -> String {
        let mut answer = "permessage-deflate".to_owned();
        if self.server_no_context_takeover {
            answer.push_str("; server_no_context_takeover");
        }
        if self.client_no_context_takeover {
            answer.push_str("; client_no_context_takeover");
        }
        if self.server_max_window_bits < 15 {
            answer.push_str(&format!("; server_max_window_bits={}", self.server_max_window_bits));
        }
        if self.client_max_window_bits < 15 {
            answer.push_str(&format!("; client_max_window_bits={}", self.client_max_window_bits));
        }
        answer
    }
}

/// Reads the parameters of an offer. Returns `None`, which declines the offer, if a parameter is
/// unknown or repeated, or if its value is invalid, missing or not permitted (RFC 7692 section 7).
fn requested(params: &[(String, Option<String>)]) -> Option<Requested> {
    let mut requested = Requested::default();
    for (at, (name, value)) in params.iter().enumerate() {
        if params[..at].iter().any(|(earlier, _)| earlier == name) {
            return None;
        }
        match (name.as_str(), value.as_deref()) {
            ("server_no_context_takeover", None) => requested.server_no_context_takeover = true,
            ("client_no_context_takeover", None) => requested.client_no_context_takeover = true,
            ("server_max_window_bits", Some(value)) => requested.server_max_window_bits = Some(bits(value)?),
            ("client_max_window_bits", None) => requested.client_max_window_bits = Some(None),
            ("client_max_window_bits", Some(value)) => {
                requested.client_max_window_bits = Some(Some(bits(value)?));
            }
            _ => return None,
        }
    }
    Some(requested)
}

/// Parses a decimal from 8 to 15 without leading zeros (RFC 7692 section 7.1.2).
fn bits(value: &str) -> Option<u8> {
    match value {
        "8" => Some(8),
        "9" => Some(9),
        _ if value.len() == 2 => value.parse().ok().filter(|bits| (10..=15).contains(bits)),
        _ => None,
    }
}

/// Parses the list of offers: `1#(token *(";" token ["=" (token | quoted-string)]))`. The content of a
/// quoted string must be a token, too (RFC 6455 section 9.1).
fn parse(value: &[u8]) -> Result<Vec<Offer>, Malformed> {
    let mut rest = Cursor(value);
    let mut offers = Vec::new();
    loop {
        // The list rule of HTTP permits empty elements (RFC 9110 section 5.6.1).
        while rest.take(b',') {}
        if rest.is_end() {
            return Ok(offers);
        }
        let name = rest.token()?;
        let mut params = Vec::new();
        while rest.take(b';') {
            let name = rest.token()?.to_ascii_lowercase();
            let value = if rest.take(b'=') { Some(rest.value()?) } else { None };
            params.push((name, value));
        }
        offers.push(Offer { name, params });
        if !rest.is_end() && !rest.take(b',') {
            return Err(Malformed);
        }
    }
}

/// The unread rest of a header's value.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn is_end(&mut self) -> bool {
        self.skip_blanks();
        self.0.is_empty()
    }

    /// Skips whitespace, then `byte` if it is next. Returns whether it was.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        match self.0.split_first() {
            Some((first, rest)) if *first == byte => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Reads a token (RFC 9110 section 5.6.2).
    fn token(&mut self) -> Result<String, Malformed> {
        self.skip_blanks();
        let end = self.0.iter().position(|b| !is_tchar(*b)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() {
            return Err(Malformed);
        }
        Ok(token.iter().map(|b| char::from(*b)).collect())
    }

    /// Reads the value of a parameter: a token or a quoted string.
    fn value(&mut self) -> Result<String, Malformed> {
        if !self.take(b'"') {
            return self.token();
        }
        let mut value = String::new();
        loop {
            let (first, rest) = self.0.split_first().ok_or(Malformed)?;
            let (byte, rest) = match first {
                b'"' => {
                    self.0 = rest;
                    return if value.is_empty() { Err(Malformed) } else { Ok(value) };
                }
                b'\\' => rest.split_first().ok_or(Malformed)?,
                _ => (first, rest),
            };
            if !is_tchar(*byte) {
                return Err(Malformed);
            }
            value.push(char::from(*byte));
            self.0 = rest;
        }
    }
}

/// Whether the byte may be part of a token (RFC 9110 section 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(offers: &[&str], ours: &Compression) -> Option<String> {
        match negotiate(offers.iter().map(|offer| offer.as_bytes()), ours) {
            Ok(params) => params.map(|p| p.answer()),
            Err(Malformed) => Some("malformed".to_owned()),
        }
    }

    fn with_takeover() -> Compression {
        Compression { context_takeover: true, ..Compression::default() }
    }

    #[test]
    fn without_takeover_in_the_settings_both_sides_get_none() {
        let shared = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in
            ["permessage-deflate", "permessage-deflate; client_max_window_bits", "PerMessage-Deflate"]
        {
            assert_eq!(answer(&[offer], &Compression::default()).as_deref(), Some(shared), "{offer}");
        }
    }

    #[test]
    fn each_offered_parameter_is_answered() {
        for (offer, expected) in [
            ("permessage-deflate", "permessage-deflate"),
            (
                "permessage-deflate; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover",
            ),
            (
                "permessage-deflate; client_no_context_takeover",
                "permessage-deflate; client_no_context_takeover",
            ),
            (
                "permessage-deflate; server_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\0\"",
                "permessage-deflate; server_max_window_bits=10",
            ),
            ("permessage-deflate; server_max_window_bits=8", "permessage-deflate; server_max_window_bits=8"),
            ("permessage-deflate; server_max_window_bits=15", "permessage-deflate"),
            ("permessage-deflate;client_max_window_bits", "permessage-deflate"),
            (
                "permessage-deflate ; client_max_window_bits = 9",
                "permessage-deflate; client_max_window_bits=9",
            ),
            (
                "permessage-deflate; client_max_window_bits=12; server_max_window_bits=9; \
                 client_no_context_takeover; server_no_context_takeover",
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=9; client_max_window_bits=12",
            ),
        ] {
            assert_eq!(answer(&[offer], &with_takeover()).as_deref(), Some(expected), "{offer}");
        }
    }

    #[test]
    fn the_settings_can_lower_the_clients_limits() {
        let ours = Compression { server_max_window_bits: 11, client_max_window_bits: 12, ..with_takeover() };
        for (offer, expected) in [
            ("permessage-deflate", "permessage-deflate; server_max_window_bits=11"),
            (
                "permessage-deflate; server_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=14",
                "permessage-deflate; server_max_window_bits=11",
            ),
            (
                "permessage-deflate; client_max_window_bits",
                "permessage-deflate; server_max_window_bits=11; client_max_window_bits=12",
            ),
            (
                "permessage-deflate; client_max_window_bits=10",
                "permessage-deflate; server_max_window_bits=11; client_max_window_bits=10",
            ),
        ] {
            assert_eq!(answer(&[offer], &ours).as_deref(), Some(expected), "{offer}");
        }
    }

    #[test]
    fn an_invalid_offer_is_declined_and_the_next_one_is_tried() {
        for fault in [
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=015",
            "client_max_window_bits=0",
            "client_max_window_bits=99",
            "client_max_window_bits=x",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "server_max_window_bits=10; server_max_window_bits=10",
        ] {
            let faulty = format!("permessage-deflate; {fault}");
            assert_eq!(answer(&[&faulty], &with_takeover()), None, "{fault}");
            let good = "permessage-deflate; server_max_window_bits=9";
            for offers in [vec![format!("{faulty}, {good}")], vec![faulty, good.to_owned()]] {
                let offers: Vec<_> = offers.iter().map(String::as_str).collect();
                assert_eq!(answer(&offers, &with_takeover()).as_deref(), Some(good), "{fault}");
            }
        }
    }

    #[test]
    fn the_first_acceptable_offer_wins_and_others_are_ignored() {
        let offers = "x-webkit-deflate-frame, foo; bar=\"baz\", permessage-deflate; server_max_window_bits=12, \
                      permessage-deflate";
        assert_eq!(
            answer(&[offers], &with_takeover()).as_deref(),
            Some("permessage-deflate; server_max_window_bits=12")
        );
        assert_eq!(answer(&[], &with_takeover()), None);
        assert_eq!(answer(&["", " , "], &with_takeover()), None);
        assert_eq!(answer(&["permessage-bzip2"], &with_takeover()), None);
    }

    #[test]
    fn malformed_headers_are_rejected() {
        for malformed in [
            "permessage-deflate; ",
            "permessage-deflate; =1",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=\"b\\",
            "permessage-deflate client_max_window_bits",
            "permessage-deflate, foo/bar",
            "; permessage-deflate",
            "permessage-deflate; a=b=c",
            "permessage-deflate; caf\u{e9}",
        ] {
            let values = std::iter::once(malformed.as_bytes());
            assert_eq!(negotiate(values, &with_takeover()), Err(Malformed), "{malformed}");
        }
    }
}
