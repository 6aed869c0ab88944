//! The engine behind its tracker, as a session feeds them, for fuzz targets.

use super::{Codec, Gate, failure};
use crate::conn::Shared;
use crate::event::ConnId;
use crate::inflate::harness::{MAX, Outcome};
use crate::outbox::Outbox;
use tokio_tungstenite::tungstenite::{Error, Message as Got};

/// Reads a stream that arrives in these pieces, until it ends or fails.
///
/// A session asks the engine as often as the tracker has counted, and gives it back where the
/// tracker says that nothing is under way: so the two must agree about each byte.
pub(crate) fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let (mut out, conn) = (Outbox::default(), Shared::new(ConnId(1), 0, 0, None, None));
    let mut messages = Vec::new();
    let mut codec = Codec::new(MAX);
    for piece in pieces {
        let scan = codec.tracker.scan(piece);
        let clean = codec.tracker.is_clean();
        let mut gate = Gate { input: piece, out: &mut out, conn: &conn };
        let mut left = scan.messages;
        let code = loop {
            if left == 0 && clean {
                break None;
            }
            match codec.engine.read(&mut gate) {
                Ok(Got::Text(text)) => messages.push((text.as_bytes().to_vec(), false)),
                Ok(Got::Binary(payload)) => messages.push((payload.to_vec(), true)),
                Ok(Got::Close(_)) => break Some(1000),
                Ok(_) => {}
                Err(Error::Io(_)) => break None,
                Err(error) => break Some(failure(&error).0),
            }
            assert!(left > 0, "the engine has found a message that was not counted");
            left -= 1;
        };
        if let Some(code) = code.or(scan.invalid_utf8.then_some(1007)) {
            return (messages, Some(code));
        }
        assert_eq!(left, 0, "the engine has not found a message that was counted");
        assert!(gate.input.is_empty(), "the engine takes all");
        if clean {
            let end = codec.engine.read(&mut gate);
            assert!(matches!(end, Err(Error::Io(_))), "something was under way: {end:?}");
            codec = Codec::new(MAX);
        }
    }
    (messages, None)
}
