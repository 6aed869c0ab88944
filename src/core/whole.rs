//! The common case, without the engine: a message that arrives whole, in one frame.
//!
//! Nothing of it outlives the call, so the engine and the tracker need not know. What is not
//! plainly in order is left to them, and so is saying what is wrong with it; what is not whole is a
//! [`Partial`](crate::partial::Partial).

use bytes::Bytes;

/// FIN without reserved bits, and the opcode of a text or binary message (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) payload: Bytes,
    pub(crate) binary: bool,
    /// Bytes that its frame took.
    pub(crate) used: usize,
}

/// What a stream starts with.
pub(crate) enum Start {
    /// The frame of a message in a single frame.
    Frame(Header),
    /// Perhaps that, but its header has not arrived whole.
    Short,
    /// Something for the engine.
    Other,
}

/// Of a masked frame that is a message by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) binary: bool,
    /// Bytes of the payload.
    pub(crate) length: usize,
    pub(crate) mask: [u8; 4],
    /// Bytes of the header.
    pub(crate) used: usize,
}

/// Looks at the header at the start of `input`. Where it is inlined, a small message pays nothing for
/// telling the other cases apart.
#[inline(always)]
pub(crate) fn start(input: &[u8], max: usize) -> Start {
    let Some((&[first, second], rest)) = input.split_first_chunk() else {
        return if matches!(input, [] | [TEXT | BINARY]) { Start::Short } else { Start::Other };
    };
    if !matches!(first, TEXT | BINARY) || second & MASKED == 0 {
        return Start::Other;
    }
    let (length, rest) = match second & !MASKED {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Start::Short };
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Start::Short };
            let Ok(length) = usize::try_from(u64::from_be_bytes(*length)) else { return Start::Other };
            (length, rest)
        }
        short => (usize::from(short), rest),
    };
    if length > max {
        return Start::Other;
    }
    let Some((mask, rest)) = rest.split_first_chunk() else { return Start::Short };
    Start::Frame(Header { binary: first == BINARY, length, mask: *mask, used: input.len() - rest.len() })
}

/// The message at the start of `input`, if it is a masked one of at most `max` bytes in a single
/// frame, all there, and valid.
pub(crate) fn read(input: &[u8], max: usize) -> Option<Whole> {
    let Start::Frame(Header { binary, length, mask, used }) = start(input, max) else { return None };
    let masked = input.get(used..)?.get(..length)?;
    let mut payload = masked.to_vec();
    let ascii = unmask(&mut payload, mask);
    if !binary && !ascii && std::str::from_utf8(&payload).is_err() {
        return None;
    }
    Some(Whole { payload: payload.into(), binary, used: used + length })
}

/// Appends what `masked` is without its mask, of which the first byte comes first. True if that is
/// ASCII.
pub(crate) fn append(payload: &mut Vec<u8>, masked: &[u8], mask: [u8; 4]) -> bool {
    /// So much is unmasked while it is still in the fastest cache.
    const AT_ONCE: usize = 8 << 10;
    let mut ascii = true;
    for piece in masked.chunks(AT_ONCE) {
        let from = payload.len();
        payload.extend_from_slice(piece);
        ascii &= unmask(&mut payload[from..], mask);
    }
    ascii
}

/// Takes the mask off (RFC 6455 section 5.3). True if all bytes are ASCII then.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) -> bool {
    let word = u64::from(u32::from_ne_bytes(mask)) * 0x1_0000_0001;
    let (words, tail) = payload.as_chunks_mut::<8>();
    let mut seen = 0;
    for bytes in words {
        let plain = u64::from_ne_bytes(*bytes) ^ word;
        seen |= plain;
        *bytes = plain.to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
        seen |= u64::from(*byte);
    }
    seen & 0x8080_8080_8080_8080 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, length: &[u8], payload: &[u8]) -> Vec<u8> {
        let mask = [0x11, 0xa2, 0x33, 0xc4];
        let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        [&[first][..], length, &mask].concat().into_iter().chain(masked).collect()
    }

    #[test]
    fn messages_of_any_size_and_of_every_length_of_header() {
        for size in [0, 1, 3, 7, 8, 9, 125, 126, 1000, 65535, 65536, 70_001] {
            let payload: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
            let length = match size {
                0..=125 => vec![MASKED | size as u8],
                126..=65535 => [&[MASKED | 126][..], &(size as u16).to_be_bytes()].concat(),
                _ => [&[MASKED | 127][..], &(size as u64).to_be_bytes()].concat(),
            };
            let mut input = frame(BINARY, &length, &payload);
            let used = input.len();
            for cut in [0, 1, 2, 5, used - 1] {
                assert_eq!(read(&input[..cut.min(used - 1)], 1 << 20), None, "cut after {cut} of {used}");
            }
            input.extend(b"more");
            let whole = read(&input, 1 << 20).unwrap();
            assert_eq!(whole, Whole { payload: payload.into(), binary: true, used });
            assert!(read(&input, size).is_some());
            assert!(size == 0 || read(&input, size - 1).is_none(), "too long");
        }
    }

    #[test]
    fn text_is_delivered_only_if_it_is_valid() {
        let text = |bytes: &[u8]| read(&frame(TEXT, &[MASKED | bytes.len() as u8], bytes), 1000);
        for valid in ["", "plain", "exactly8", "caf\u{e9}", "0123456\u{e9}", "\u{10ffff}"] {
            let whole = text(valid.as_bytes()).unwrap();
            assert_eq!((&whole.payload[..], whole.binary), (valid.as_bytes(), false));
        }
        for invalid in [&b"\xff"[..], b"12345678\xff", b"\xff2345678", b"caf\xc3", b"\xed\xa0\x80"] {
            assert_eq!(text(invalid), None);
        }
    }

    #[test]
    fn everything_else_is_left_to_the_engine() {
        let length = &[MASKED | 2];
        // Fragments, continuations, control frames, reserved opcodes, reserved bits.
        for first in [0x01, 0x02, 0x80, 0x88, 0x89, 0x8a, 0x83, 0x8b, 0xc1, 0xa1, 0x91] {
            assert_eq!(read(&frame(first, length, b"hi"), 1000), None, "{first:#x}");
        }
        assert_eq!(read(b"\x81\x02hi", 1000), None, "not masked");
        assert_eq!(read(&frame(BINARY, &[MASKED | 127, 0xff, 0, 0, 0, 0, 0, 0, 0], b"hi"), usize::MAX), None);
    }
}
