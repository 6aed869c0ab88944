//! The response that ends HTTP/1.1 on a connection and begins the WebSocket.
//!
//! It is written here and not by hyper, which writes names in lower case and repeats the `close` of
//! a request's `Connection` header: clients on small devices compare the names of RFC 6455 byte by
//! byte, and others take a connection that announces its end for lost.

/// The head of the 101 (RFC 6455 section 4.2.2): the headers of the handshake, then those of the
/// host as it spells them. `Connection` holds `Upgrade` alone, for `close` belongs to a final response
/// (RFC 9112 section 9.6) and this one is interim (RFC 9110 section 15.2).
pub(crate) fn head(accept: &str, headers: &[(String, String)]) -> Vec<u8> {
    let fixed = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)];
    let host = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut head = Vec::with_capacity(256);
    head.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
    for (name, value) in fixed.into_iter().chain(host) {
        for part in [name, ": ", value, "\r\n"] {
            head.extend_from_slice(part.as_bytes());
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
