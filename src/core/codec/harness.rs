//! Plain frames as a session reads them, for fuzz targets.

use super::{Codec, Gate, failure};
use crate::conn::Shared;
use crate::id::ConnId;
use crate::inflate::harness::{MAX, Outcome};
use crate::outbox::Outbox;
use crate::partial::{Partial, Step};
use crate::whole;
use tokio_tungstenite::tungstenite::{Error, Message as Got};

/// What a stream has been up to now.
#[derive(Default)]
struct Reading {
    messages: Vec<(Vec<u8>, bool)>,
    out: Outbox,
    codec: Option<Codec>,
    partial: Option<Box<Partial>>,
}

/// Reads a stream that arrives in these pieces, until it ends or fails.
pub(crate) fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut reading = Reading::default();
    let mut code = None;
    for piece in pieces {
        code = reading.feed(piece).err();
        if code.is_some() {
            break;
        }
    }
    (reading.messages, code)
}

impl Reading {
    /// As `Session::feed`: what is whole or in one frame without the engine, the rest with it.
    fn feed(&mut self, mut input: &[u8]) -> Result<(), u16> {
        if let Some(mut partial) = self.partial.take() {
            match partial.feed(input, MAX) {
                Step::Whole(message) => {
                    self.messages.push((message.payload.to_vec(), message.binary));
                    input = &input[message.used..];
                }
                Step::More => {
                    self.partial = Some(partial);
                    return Ok(());
                }
                Step::Invalid => return Err(1007),
                Step::Other(header, len) => {
                    let used = self.engine(&header[..len])?;
                    assert_eq!(used, len, "less than a header ends no message");
                }
            }
        }
        while !input.is_empty() {
            if self.codec.is_none() {
                while let Some(message) = whole::read(input, MAX) {
                    self.messages.push((message.payload.to_vec(), message.binary));
                    input = &input[message.used..];
                }
                if input.is_empty() {
                    break;
                }
                self.partial = Partial::begin(input, MAX);
                if self.partial.is_some() {
                    break;
                }
            }
            let used = self.engine(input)?;
            assert!(used > 0, "no progress");
            input = &input[used..];
        }
        Ok(())
    }

    /// Up to the end of a message. A session asks the engine as often as the tracker has counted,
    /// and gives it back where the tracker says that nothing is under way: so the two must agree
    /// about each byte.
    fn engine(&mut self, input: &[u8]) -> Result<usize, u16> {
        let conn = Shared::new(ConnId(1), 0, 0, None, None);
        let mut codec = self.codec.take().unwrap_or_else(|| Codec::new(MAX));
        let (scan, used) = codec.tracker.scan_message(input, u32::MAX);
        let clean = codec.tracker.is_clean();
        let mut gate = Gate { input: &input[..used], out: &mut self.out, conn: &conn };
        let mut left = scan.messages;
        let code = loop {
            if left == 0 && clean {
                break None;
            }
            match codec.engine.read(&mut gate) {
                Ok(Got::Text(text)) => self.messages.push((text.as_bytes().to_vec(), false)),
                Ok(Got::Binary(payload)) => self.messages.push((payload.to_vec(), true)),
                Ok(Got::Close(_)) => break Some(1000),
                Ok(_) => {}
                Err(Error::Io(_)) => break None,
                Err(error) => break Some(failure(&error).0),
            }
            assert!(left > 0, "the engine has found a message that was not counted");
            left -= 1;
        };
        if let Some(code) = code.or(scan.invalid_utf8.then_some(1007)) {
            return Err(code);
        }
        assert_eq!(left, 0, "the engine has not found a message that was counted");
        assert!(gate.input.is_empty(), "the engine takes all");
        if clean {
            let end = codec.engine.read(&mut gate);
            assert!(matches!(end, Err(Error::Io(_))), "something was under way: {end:?}");
        } else {
            self.codec = Some(codec);
        }
        Ok(used)
    }
}
