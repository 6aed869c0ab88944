//! Entrances for the fuzz targets in `fuzz/`. Not there otherwise.

use http::{HeaderMap, HeaderValue};

use crate::codec::harness as plain;
use crate::config::Compression;
use crate::extension::negotiate;
use crate::inflate::harness::{run, same};
use crate::proxy_protocol::{Progress, parse};

/// Bytes of a client on a connection without compression. The first byte says how the stream is
/// cut, which must not make a difference.
pub fn frames(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let whole = plain::run(std::iter::once(stream));
    let pieces = plain::run(stream.chunks(1 + usize::from(*how)));
    assert!(same(&whole, &pieces), "ended by {:?} as a whole, by {:?} in pieces", whole.1, pieces.1);
}

/// What stands before HTTP on a listener of the PROXY protocol. A header must be found however it
/// is cut, and no byte behind it may be asked for: those are the client's.
pub fn proxy_header(data: &[u8]) {
    let whole = parse(data);
    if let Progress::Complete(_, length) = whole {
        assert_eq!(parse(&data[..length]), whole, "what follows the header counts");
    }
    for cut in 0..data.len() {
        match parse(&data[..cut]) {
            Progress::Missing(more) => {
                assert!(more > 0, "nothing is missing after {cut} bytes");
                if let Progress::Complete(_, length) = whole {
                    assert!(cut + more <= length, "after {cut} of {length} bytes {more} are asked for");
                }
            }
            found => assert_eq!(found, whole, "after {cut} bytes"),
        }
    }
}

/// Bytes of a client on a connection with compression. The first byte says whether windows are
/// kept and how the stream is cut, which must not make a difference.
pub fn deflate(data: &[u8]) {
    let Some((how, stream)) = data.split_first() else { return };
    let keep = how & 1 != 0;
    let step = 1 + usize::from(how >> 1);
    let whole = run(std::iter::once(stream), keep);
    let pieces = run(stream.chunks(step), keep);
    assert!(same(&whole, &pieces), "ended by {:?} as a whole, by {:?} in pieces", whole.1, pieces.1);
}

/// A `Sec-WebSocket-Extensions` header. What is answered must be an offer that we accept.
pub fn extensions(data: &[u8]) {
    let ours = Compression { context_takeover: true, ..Compression::default() };
    let offer = |value: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.append("sec-websocket-extensions", HeaderValue::from_bytes(value).ok()?);
        negotiate(&headers, &ours).ok()?
    };
    if let Some(params) = offer(data) {
        assert_eq!(offer(params.answer().as_bytes()), Some(params));
    }
}
