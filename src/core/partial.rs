//! A message in a single frame that arrives in pieces, without the engine.
//!
//! Where messages are large, or many wait, most reads end inside of one. The engine zeroes its buffer,
//! copies the piece into it and later moves it, and the tracker has unmasked it once before: with
//! 16 KiB and 16 messages in flight that was a third of the CPU time.

use crate::utf8::Utf8;
use crate::whole::{self, Header, Start, Whole};

/// Of a frame's header, two bytes and at most eight of a length and four of a mask.
const HEADER: usize = 14;
/// Bytes of a payload that there is room for when nothing of it has arrived.
const AT_ONCE: usize = 64 << 10;

/// What has arrived. The rest of the stream is not looked at before it is whole.
#[derive(Debug)]
pub(crate) enum Partial {
    /// Less than a header.
    Header { bytes: [u8; HEADER], len: usize },
    /// A part of the payload, without its mask.
    Payload { header: Header, payload: Vec<u8>, utf8: Utf8 },
}

/// What a piece of the stream has made of it.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is whole. `used`: bytes of the piece.
    Whole(Whole),
    /// The piece was part of it.
    More,
    /// It is a text and not valid UTF-8, whatever follows.
    Invalid,
    /// It is for the engine: these bytes of it, and then the piece.
    Other([u8; HEADER], usize),
}

impl Partial {
    /// Begins with all of `input`, in which no message is whole. `None`: the engine's turn.
    #[inline(never)]
    pub(crate) fn begin(input: &[u8], max: usize) -> Option<Box<Self>> {
        match whole::start(input, max) {
            Start::Other => None,
            Start::Short => {
                let mut bytes = [0; HEADER];
                bytes.get_mut(..input.len())?.copy_from_slice(input);
                Some(Box::new(Self::Header { bytes, len: input.len() }))
            }
            Start::Frame(header) => {
                let mut partial = Self::payload(header);
                // What is invalid at once is told by the engine.
                match partial.append(input.get(header.used..)?) {
                    Step::More => Some(Box::new(partial)),
                    _ => None,
                }
            }
        }
    }

    /// Goes on with a piece of the stream.
    pub(crate) fn feed(&mut self, piece: &[u8], max: usize) -> Step {
        let Self::Header { bytes, len } = self else { return self.append(piece) };
        let kept = *len;
        let n = piece.len().min(HEADER - kept);
        bytes[kept..kept + n].copy_from_slice(&piece[..n]);
        match whole::start(&bytes[..kept + n], max) {
            Start::Other => Step::Other(*bytes, kept),
            Start::Short => {
                *len += n;
                Step::More
            }
            Start::Frame(header) => {
                // More than what was kept: that was no header.
                let taken = header.used - kept;
                *self = Self::payload(header);
                match self.append(&piece[taken..]) {
                    Step::Whole(whole) => Step::Whole(Whole { used: whole.used + taken, ..whole }),
                    other => other,
                }
            }
        }
    }

    fn payload(header: Header) -> Self {
        // Who announces much and sends little gets little.
        let payload = Vec::with_capacity(header.length.min(AT_ONCE));
        Self::Payload { header, payload, utf8: Utf8::default() }
    }

    fn append(&mut self, piece: &[u8]) -> Step {
        let Self::Payload { header, payload, utf8 } = self else { return Step::More };
        let have = payload.len();
        let piece = &piece[..piece.len().min(header.length - have)];
        let mut mask = header.mask;
        mask.rotate_left(have & 3);
        let ascii = whole::append(payload, piece, mask);
        let valid = header.binary || ascii && utf8.is_clean();
        if !valid && !utf8.feed(&payload[have..]) {
            return Step::Invalid;
        }
        if payload.len() < header.length {
            return Step::More;
        }
        if !utf8.is_clean() {
            return Step::Invalid;
        }
        Step::Whole(Whole {
            payload: std::mem::take(payload).into(),
            binary: header.binary,
            used: piece.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        crate::frame::masked(first, payload, [0x11, 0xa2, 0x33, 0xc4])
    }

    /// What becomes of a stream in pieces: the message, and how many bytes were its own; `Err` with
    /// the number of bytes after which it was found invalid.
    fn run(stream: &[u8], step: usize) -> Result<(Whole, usize), usize> {
        let mut pieces = stream.chunks(step);
        let mut seen = step.min(stream.len());
        let first = pieces.next().unwrap();
        let Some(mut partial) = Partial::begin(first, MAX) else { return Err(seen) };
        for piece in pieces {
            match partial.feed(piece, MAX) {
                Step::More => seen += piece.len(),
                Step::Whole(whole) => {
                    let used = seen + whole.used;
                    return Ok((whole, used));
                }
                Step::Invalid => return Err(seen + piece.len()),
                Step::Other(..) => panic!("a message"),
            }
        }
        panic!("{seen} bytes were not enough")
    }

    #[test]
    fn a_message_is_the_same_however_it_is_cut() {
        for payload in [vec![], b"a".to_vec(), "é€😀 and plain".repeat(300).into_bytes(), vec![b'x'; 70_000]]
        {
            for first in [0x81, 0x82] {
                let stream = [frame(first, &payload), b"\x81more".to_vec()].concat();
                let length = stream.len() - 5;
                let steps = [1, 2, 3, 5, 7, 8, 13, 100, 4096, length - 1];
                for step in steps.into_iter().filter(|step| *step < length) {
                    let (whole, used) = run(&stream, step).unwrap();
                    assert_eq!(
                        (&whole.payload[..], whole.binary, used),
                        (&payload[..], first == 0x82, length)
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_announced_takes_no_memory_before_it_comes() {
        let stream = frame(0x82, &vec![1; MAX]);
        let mut partial = Partial::begin(&stream[..100], MAX).unwrap();
        let room = |partial: &Partial| match partial {
            Partial::Payload { payload, .. } => payload.capacity(),
            Partial::Header { .. } => 0,
        };
        assert!(room(&partial) <= AT_ONCE);
        assert!(matches!(partial.feed(&stream[100..200_000], MAX), Step::More));
        assert!(room(&partial) <= 2 * 200_000);
    }

    #[test]
    fn text_is_found_invalid_as_soon_as_it_is() {
        let mut payload = vec![b'x'; 10_000];
        payload[5000] = 0xff;
        let stream = frame(0x81, &payload);
        for step in [1, 3, 1000] {
            let seen = run(&stream, step).unwrap_err();
            assert!((5009..5009 + step).contains(&seen), "after {seen} bytes in pieces of {step}");
        }
        // A character that nothing completes.
        let stream = frame(0x81, b"caf\xc3");
        assert_eq!(run(&stream, 4), Err(stream.len()));
        assert!(run(&frame(0x82, &payload), 1000).is_ok(), "binary is not text");
    }

    #[test]
    fn what_turns_out_to_be_something_else_is_given_back() {
        let begin = |bytes: &[u8]| Partial::begin(bytes, MAX).is_some();
        for other in [&b"\x89"[..], b"\x01", b"\xc1", b"\x81\x02", b"\x88\x80"] {
            assert!(!begin(other), "{other:x?}");
        }
        let mut partial = Partial::begin(b"\x81", MAX).unwrap();
        let Step::Other(bytes, len) = partial.feed(b"\x02hi", MAX) else { panic!("not masked") };
        assert_eq!(&bytes[..len], b"\x81");
        // Too long, which shows only with the last byte of the length.
        let header = [&[0x82, 0xff][..], &(MAX as u64 + 1).to_be_bytes()].concat();
        let mut partial = Partial::begin(&header[..9], MAX).unwrap();
        let Step::Other(bytes, len) = partial.feed(&[&header[9..], b"mask"].concat(), MAX) else { panic!() };
        assert_eq!(bytes[..len], header[..9]);
    }
}
