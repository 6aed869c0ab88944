//! The reader with an engine behind it, for tests and fuzz targets.

use super::{Inflaters, Plain, Reader, Step};
use crate::codec::{Codec, Gate, failure};
use crate::conn::Shared;
use crate::id::ConnId;
use crate::outbox::Outbox;
use tokio_tungstenite::tungstenite::{Error, Message as Got};

/// The message size limit.
pub(crate) const MAX: usize = 200_000;

/// What becomes of a stream that arrives in pieces: messages, and the failure that ends it.
pub(crate) type Outcome = (Vec<(Vec<u8>, bool)>, Option<u16>);

/// Whether two cuts of a stream came to the same. One that is wrong in two ways, invalid and too
/// large at once, may end with either code.
pub(crate) fn same(a: &Outcome, b: &Outcome) -> bool {
    a.0 == b.0 && a.1.is_some() == b.1.is_some()
}

/// Reads a stream that arrives in these pieces. `keep` as in [`Reader::read`].
pub(crate) fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>, keep: bool) -> Outcome {
    let (mut reader, mut pool, mut plain) = (Reader::default(), Inflaters::default(), Plain::default());
    let mut codec = Codec::new(MAX);
    let (mut out, conn) = (Outbox::default(), Shared::new(ConnId(1), 0, 0, None, None));
    let mut messages = Vec::new();
    for piece in pieces {
        let mut input = piece;
        loop {
            let before = input.len();
            let step = reader.read(&mut input, &mut plain, &mut pool, keep, MAX);
            let mut gate = Gate { input: plain.filled(), out: &mut out, conn: &conn };
            let ended = loop {
                match codec.engine.read(&mut gate) {
                    Ok(Got::Text(text)) => messages.push((text.as_bytes().to_vec(), false)),
                    Ok(Got::Binary(payload)) => messages.push((payload.to_vec(), true)),
                    Ok(Got::Close(_)) => break Some(1000),
                    Ok(_) => {}
                    Err(Error::Io(_)) => break None,
                    Err(error) => break Some(failure(&error).0),
                }
            };
            assert!(gate.input.is_empty() || ended.is_some(), "the engine takes all");
            assert!(
                step != Ok(Step::Full) || !plain.filled().is_empty() || input.len() < before,
                "no progress"
            );
            plain.clear();
            match (ended, step) {
                (Some(code), _) | (None, Err((code, _))) => return (messages, Some(code)),
                (None, Ok(Step::Full)) => {}
                (None, Ok(Step::Done)) => {
                    assert!(input.is_empty());
                    break;
                }
            }
        }
    }
    (messages, None)
}
