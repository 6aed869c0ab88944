//! Entry points of the fuzz targets, for bytes that arrive through a broker. Modules whose private parts are
//! fuzzed have a `harness` of their own.

use bytes::Bytes;

use super::envelope::{self, Body};

/// Converts each line, taken as a topic and as a subject of NATS, to the other form and back.
pub fn subjects(data: &[u8]) {
    super::subject::harness::run(data);
}

/// Parses what a Redis server sends to a node.
pub fn redis(data: &[u8]) {
    super::redis::harness::run(data);
}

/// Parses a message with or without an envelope.
pub fn envelope(data: &[u8]) {
    let body = envelope::open(Bytes::copy_from_slice(data));
    let text = std::str::from_utf8(&body.payload).is_ok();
    assert!(body.binary || text, "text that is none");
    if body.node != 0 || body.number != 0 || body.position.is_some() {
        // A message with an envelope must have the same bytes when it is encoded again.
        let mut again = envelope::head(body.node, body.number, data[4] != 0).to_vec();
        let position = body.position.clone().unwrap_or_default();
        again.push(u8::try_from(position.len()).expect("a byte tells its length"));
        again.extend_from_slice(position.as_bytes());
        again.extend_from_slice(&body.payload);
        assert_eq!(again, data);
    }
    for binary in [false, true] {
        let expected = Body { binary, payload: Bytes::copy_from_slice(data), ..Body::default() }.checked();
        assert_eq!(envelope::open(envelope::plain(binary, data)), expected);
        let sealed = envelope::open(envelope::seal(7, u64::MAX, binary, data));
        assert_eq!(sealed, Body { node: 7, number: u64::MAX, ..expected });
    }
}
