//! The 101 response, which ends HTTP/1.1 on a connection and begins the WebSocket.
//!
//! This module writes it because hyper would write names in lower case and repeat the `close` of a
//! request's `Connection` header. Clients on small devices compare the names of RFC 6455 byte by
//! byte, and other clients give up on a connection that announces its end.

/// The head of the 101 response (RFC 6455 section 4.2.2): the headers of the handshake, then
/// `headers`, spelled as the host spells them. `Connection` contains only `Upgrade`: `close` belongs
/// to a final response (RFC 9112 section 9.6), and this one is interim (RFC 9110 section 15.2).
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
