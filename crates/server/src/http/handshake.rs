//! Checks the opening handshake (RFC 6455 section 4.2) and selects a subprotocol.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::channel::request::Request;
use crate::config::origin::Origin;
use crate::config::{Config, Origins};
use crate::http::refusal::{Cause, Refusal};
use sprocket_protocol::authority::Authority;

/// The kind of a request.
#[derive(Debug)]
pub(crate) enum RequestKind {
    /// A handshake, with the value of `Sec-WebSocket-Accept`; `None` over HTTP/2.
    WebSocket { accept: Option<String> },
    /// A request for an ordinary response.
    Plain,
}

/// Determines the kind of a request whose target and host are [settled](crate::http::target::settle).
///
/// # Errors
/// A refusal, if the handshake is malformed or comes from an origin that is not admitted.
pub(crate) fn examine(parts: &Parts, config: &Config) -> Result<RequestKind, Refusal> {
    let refuse = |status, body: &str| Err(Refusal::new(Cause::Malformed, status, body));
    let protocol = parts.extensions.get::<h2::ext::Protocol>();
    if parts.method == Method::CONNECT && protocol.is_none() {
        return refuse(405, "This server is not a proxy.");
    }
    // Extended CONNECT, RFC 8441 section 4.
    if let Some(protocol) = protocol {
        return match protocol.as_str() {
            "websocket" => finish(parts, config, None),
            _ => refuse(501, "The only protocol supported here is \"websocket\"."),
        };
    }
    if !asks_for_websocket(parts) {
        return Ok(RequestKind::Plain);
    }
    if parts.method != Method::GET {
        let body = "A WebSocket handshake is a GET request.";
        return Err(Refusal::new(Cause::Malformed, 405, body).header("Allow", "GET"));
    }
    if parts.version < Version::HTTP_11 {
        return refuse(400, "A WebSocket handshake requires HTTP/1.1 or later.");
    }
    if !has_token(&parts.headers, &CONNECTION, "upgrade") {
        return refuse(400, "The Connection header of a WebSocket handshake must contain \"Upgrade\".");
    }
    let mut keys = parts.headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(key),
        (None, _) => Err("The Sec-WebSocket-Key header is missing."),
        _ => Err("The Sec-WebSocket-Key header must be one base64 value of 16 bytes."),
    };
    finish(parts, config, Some(key))
}

/// Makes the checks that apply to handshakes over every version of HTTP. `key`: the value of
/// `Sec-WebSocket-Key`, or why it is wrong; `None` over HTTP/2.
fn finish(
    parts: &Parts,
    config: &Config,
    key: Option<Result<&HeaderValue, &str>>,
) -> Result<RequestKind, Refusal> {
    let refuse = |status, body: &str| Err(Refusal::new(Cause::Malformed, status, body));
    // With a body, a proxy in front of this server could mistake frames for the body, or the body for
    // frames.
    let length = parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if length || parts.headers.contains_key(TRANSFER_ENCODING) {
        return refuse(400, "A WebSocket handshake must not have a body.");
    }
    let mut versions = parts.headers.get_all(SEC_WEBSOCKET_VERSION).iter();
    if versions.next().map(|v| v.as_bytes()) != Some(b"13") || versions.next().is_some() {
        let body = "This server speaks version 13 of the WebSocket protocol.";
        return Err(Refusal::new(Cause::Malformed, 426, body).header("Sec-WebSocket-Version", "13"));
    }
    let accept = match key {
        Some(Ok(key)) => Some(derive_accept_key(key.as_bytes())),
        Some(Err(wrong)) => return refuse(400, wrong),
        None => None,
    };
    admit_origin(&parts.headers, &config.origins)?;
    Ok(RequestKind::WebSocket { accept })
}

/// Selects the first of the server's subprotocols that the client offers (RFC 6455 section 4.2.2).
///
/// # Errors
/// A refusal, if `strictSubprotocols` is set and the client offers subprotocols, none of which the
/// server supports.
pub(crate) fn negotiate(request: &Request, config: &Config) -> Result<Option<String>, Refusal> {
    let ours = &config.subprotocols;
    let chosen = ours.iter().find(|ours| request.subprotocols().any(|theirs| theirs == **ours));
    let offers = || request.subprotocols().next().is_some();
    if chosen.is_none() && config.strict_subprotocols && offers() {
        let body = "None of the offered subprotocols is supported.";
        return Err(Refusal::new(Cause::Subprotocol, 400, body));
    }
    Ok(chosen.cloned())
}

/// Whether a request asks for a WebSocket, be it well-formed or not.
pub(crate) fn asks_for_websocket(parts: &Parts) -> bool {
    match parts.extensions.get::<h2::ext::Protocol>() {
        Some(protocol) => protocol.as_str() == "websocket",
        None => has_token(&parts.headers, &UPGRADE, "websocket"),
    }
}

/// Whether a header that holds a list contains a token, regardless of case (RFC 9110 section 5.6.1).
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        // Most values are the token alone.
        value.as_bytes().eq_ignore_ascii_case(token.as_bytes())
            || value
                .to_str()
                .is_ok_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
    })
}

/// Whether `key` is the base64 encoding of 16 bytes: 22 digits and `==`. The unused bits of the last
/// digit are not checked.
fn is_key(key: &[u8]) -> bool {
    let Some(digits) = key.strip_suffix(b"==") else { return false };
    digits.len() == 22 && digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

/// Refuses a malformed `Origin` header, or one that the configuration does not admit. Browsers always
/// send exactly one; other clients need not send any.
fn admit_origin(headers: &HeaderMap, origins: &Origins) -> Result<(), Refusal> {
    let mut sent = headers.get_all(ORIGIN).iter();
    let Some(text) = sent.next().filter(|_| *origins != Origins::Any) else { return Ok(()) };
    let text = text.to_str().unwrap_or_default();
    let Some(origin) = Origin::parse(text).filter(|_| sent.next().is_none()) else {
        let body = "The Origin header must be one origin, such as https://example.com, or null.";
        return Err(Refusal::new(Cause::Malformed, 400, body));
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let (admitted, why) = match origins {
        Origins::Any => return Ok(()),
        Origins::SameHost => {
            let same = Authority::parse(host).is_some_and(|host| origin.is_of(&host));
            (same, format!("; by default it must match the Host header, {}", shown(host)))
        }
        Origins::List(list) => (list.iter().any(|pattern| pattern.admits(&origin)), String::new()),
    };
    if admitted {
        return Ok(());
    }
    let body = format!("The option \"origins\" does not admit the origin {}{why}.", shown(text));
    Err(Refusal::new(Cause::Origin, 403, &body))
}

/// Shortens a header value of the client for use in a response. A value that has the grammar of a
/// host or an origin is harmless there, but may be long.
fn shown(text: &str) -> &str {
    text.get(..255).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::origin::OriginPattern;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::get("/chat");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    const GOOD: [(&str, &str); 5] = [
        ("host", "example.com:8080"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn status(parts: &Parts, config: &Config) -> u16 {
        match examine(parts, config) {
            Ok(RequestKind::WebSocket { .. }) => 101,
            Ok(RequestKind::Plain) => 0,
            Err(refusal) => {
                assert!(refusal.response.body.len() > 10, "a refusal says why");
                refusal.response.status
            }
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let Ok(RequestKind::WebSocket { accept }) = examine(&request(&GOOD), &Config::default()) else {
            panic!("refused");
        };
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn each_missing_header_has_its_status() {
        for (missing, expected) in
            [("upgrade", 0), ("connection", 400), ("sec-websocket-version", 426), ("sec-websocket-key", 400)]
        {
            let rest: Vec<_> = GOOD.into_iter().filter(|(name, _)| *name != missing).collect();
            assert_eq!(status(&request(&rest), &Config::default()), expected, "{missing}");
        }
    }

    #[test]
    fn a_handshake_with_a_bad_key_version_or_method_is_refused() {
        for key in
            ["", "short", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25j!Q==", "dGhlIHNhbXBsZSBub25jZWFi"]
        {
            let mut headers = GOOD;
            headers[4].1 = key;
            assert_eq!(status(&request(&headers), &Config::default()), 400, "{key}");
        }
        let mut headers = GOOD;
        headers[3].1 = "8";
        assert_eq!(status(&request(&headers), &Config::default()), 426);
        let mut post = request(&GOOD);
        post.method = Method::POST;
        assert_eq!(status(&post, &Config::default()), 405);
        let mut old = request(&GOOD);
        old.version = Version::HTTP_10;
        assert_eq!(status(&old, &Config::default()), 400);
    }

    #[test]
    fn origins() {
        let list = |l: &[&str]| Origins::List(l.iter().map(|s| OriginPattern::parse(s).unwrap()).collect());
        for (origins, origin, expected) in [
            (Origins::SameHost, "http://example.com:8080", 101),
            (Origins::SameHost, "http://EXAMPLE.com:8080/", 101),
            (Origins::SameHost, "http://example.com", 403),
            (Origins::SameHost, "http://evil.example", 403),
            (Origins::SameHost, "null", 403),
            (Origins::SameHost, "example.com:8080", 400),
            (Origins::Any, "http://evil.example", 101),
            (Origins::Any, "no origin at all", 101),
            (list(&["https://a.example"]), "https://a.example", 101),
            (list(&["https://b.example", "https://*.a.example"]), "https://b.a.example", 101),
            (list(&["https://a.example"]), "http://a.example", 403),
            (list(&[]), "https://a.example", 403),
            (list(&["https://a.example"]), "", 400),
        ] {
            let mut headers = GOOD.to_vec();
            headers.push(("origin", origin));
            let config = Config { origins, ..Config::default() };
            assert_eq!(status(&request(&headers), &config), expected, "{origin} {:?}", config.origins);
        }
    }

    #[test]
    fn a_refusal_names_the_option_and_the_origin() {
        let mut headers = GOOD.to_vec();
        headers.push(("origin", "https://evil.example"));
        let refusal = examine(&request(&headers), &Config::default()).unwrap_err();
        let body = String::from_utf8(refusal.response.body.to_vec()).unwrap();
        assert_eq!(refusal.cause, Cause::Origin);
        for part in ["\"origins\"", "https://evil.example", "example.com:8080"] {
            assert!(body.contains(part), "{body}");
        }
    }

    #[test]
    fn a_second_origin_is_refused() {
        let mut headers = GOOD.to_vec();
        headers.push(("origin", "http://example.com:8080"));
        headers.push(("origin", "http://evil.example"));
        assert_eq!(status(&request(&headers), &Config::default()), 400);
        let open = Config { origins: Origins::Any, ..Config::default() };
        assert_eq!(status(&request(&headers), &open), 101);
    }

    #[test]
    fn the_first_of_the_servers_subprotocols_that_the_client_offers_is_selected() {
        let mut headers = GOOD.to_vec();
        headers.push(("sec-websocket-protocol", "a, b"));
        let offered = Request::new(&request(&headers), None, None, false);
        let none = Request::new(&request(&GOOD), None, None, false);
        let config = |ours: &[&str], strict_subprotocols| Config {
            subprotocols: ours.iter().map(|s| (*s).to_owned()).collect(),
            strict_subprotocols,
            ..Config::default()
        };
        assert_eq!(negotiate(&offered, &config(&["b", "a"], true)).unwrap().as_deref(), Some("b"));
        assert_eq!(negotiate(&offered, &config(&["c"], false)).unwrap(), None);
        assert_eq!(negotiate(&offered, &config(&["c"], true)).unwrap_err().response.status, 400);
        assert_eq!(negotiate(&none, &config(&["c"], true)).unwrap(), None);
    }
}
