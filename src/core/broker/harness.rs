//! What comes by a broker, for fuzz targets.

use bytes::{Bytes, BytesMut};

use super::envelope::{self, Body};
use super::wire::{Heard, Wire};
use super::{nats, redis};

pub(crate) use nats::harness::run as nats;
pub(crate) use redis::harness::run as redis;

/// What was read from a stream, and the bytes that wait for more; or that it failed.
pub(super) type Outcome<T> = (Vec<T>, Option<usize>);

/// Reads a stream that arrives in these pieces. Never may more wait than `bound` bytes beyond the
/// pieces, and what has failed fails again, whatever follows.
pub(super) fn feed<'a, T>(
    pieces: impl Iterator<Item = &'a [u8]>,
    bound: usize,
    mut read: impl FnMut(&mut BytesMut) -> Result<Option<T>, String>,
) -> Outcome<T> {
    let (mut input, mut all) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match read(&mut input) {
                Ok(Some(found)) => {
                    assert!(input.len() < before, "no progress");
                    all.push(found);
                }
                Ok(None) => break,
                Err(reason) => {
                    assert!(reason.len() < 1000, "a reason of {} bytes", reason.len());
                    return (all, None);
                }
            }
        }
        assert!(input.len() <= bound, "{} bytes wait", input.len());
    }
    (all, Some(input.len()))
}

/// The same by what a node makes of it.
pub(super) fn hear<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    bound: usize,
    mut wire: impl Wire,
) -> (Outcome<String>, BytesMut) {
    let mut out = BytesMut::new();
    wire.begin(&mut out);
    for name in ["t", "a.b", "a.*", "x.>", "gone"] {
        wire.subscribe(&name.into(), &mut out);
    }
    wire.unsubscribe(&"gone".into(), &mut out);
    wire.control(b"hello", &mut out);
    wire.ask(&mut out);
    out.clear();
    let mut answers = BytesMut::new();
    let outcome = feed(pieces, bound, |input| {
        let heard = wire.hear(input, &mut answers)?;
        if let Some(Heard::Message { body, .. } | Heard::Broadcast(body) | Heard::Control(body)) = &heard {
            assert!(body.binary || std::str::from_utf8(&body.payload).is_ok(), "text that is none");
        }
        Ok(heard.map(|heard| format!("{heard:?}")))
    });
    (outcome, answers)
}

/// A message with or without our envelope.
pub(crate) fn envelope(data: &[u8]) {
    let body = envelope::open(Bytes::copy_from_slice(data));
    let text = std::str::from_utf8(&body.payload).is_ok();
    assert!(body.binary || text, "text that is none");
    if body.node != 0 || body.number != 0 || body.position.is_some() {
        // It was ours, and nothing of it is forgotten.
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
