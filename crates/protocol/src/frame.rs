//! Frames (RFC 6455 section 5.2): the header parser, masking, and the encoder of frames to send.
//!
//! A frame to send is encoded once, as [`Bytes`] that any number of connections share.

use bytes::Bytes;
pub use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Maximum size of a header in bytes: 2 fixed bytes, 8 for the length and 4 for the mask.
pub const MAX_HEADER: usize = 14;
/// Maximum size of the payload of a control frame in bytes (RFC 6455 section 5.5).
pub const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The header of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The first byte: FIN, the reserved bits and the opcode.
    first: u8,
    /// The masking key; `None` if the frame is not masked.
    pub mask: Option<[u8; 4]>,
    /// Size of the payload in bytes.
    pub length: u64,
    /// Size of the header itself in bytes.
    pub size: usize,
}

impl Header {
    /// Parses the header at the start of `bytes`. Returns `None` if it is still incomplete.
    ///
    /// It is inlined into the decoder's fast path, where it compiles to a few instructions.
    #[must_use]
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (length, rest) = match second & !MASKED {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            short => (u64::from(short), rest),
        };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        Some(Self { first, mask, length, size: bytes.len() - rest.len() })
    }

    /// Whether the frame is the last one of its message.
    #[must_use]
    pub fn fin(&self) -> bool {
        self.first & FIN != 0
    }

    /// Whether the first reserved bit is set, which marks a compressed message (RFC 7692 section 6).
    #[must_use]
    pub fn rsv1(&self) -> bool {
        self.first & RSV1 != 0
    }

    /// Whether a reserved bit is set that no negotiated extension defines.
    #[must_use]
    pub fn has_undefined_bits(&self, compression: bool) -> bool {
        self.first & if compression { RSV & !RSV1 } else { RSV } != 0
    }

    /// The opcode of the frame.
    #[must_use]
    pub fn opcode(&self) -> OpCode {
        OpCode::from(self.first & 0x0f)
    }
}

/// Whether an endpoint may send a close frame with this code (RFC 6455 section 7.4, and the codes
/// that IANA has registered since).
#[must_use]
pub fn may_be_sent(code: CloseCode) -> bool {
    /// Bad Gateway, registered after RFC 6455 and missing in tungstenite.
    const BAD_GATEWAY: u16 = 1014;
    code.is_allowed() || u16::from(code) == BAD_GATEWAY
}

/// Removes the mask, or applies it (RFC 6455 section 5.3). Returns whether the result is ASCII.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) -> bool {
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

/// Encodes a complete, unmasked data message in a single frame (RFC 6455 section 5.6).
#[must_use]
pub fn message(payload: &[u8], binary: bool) -> Bytes {
    encode(data(binary), false, payload)
}

/// Length in bytes of the frame that [`message`] returns for a payload of `payload` bytes.
#[must_use]
#[inline]
pub fn message_length(payload: usize) -> usize {
    let header = match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    header + payload
}

/// Appends the frame that [`message`] returns to `out`.
pub fn append_message(out: &mut Vec<u8>, payload: &[u8], binary: bool) {
    append(out, FIN | u8::from(data(binary)), payload);
}

/// Length in bytes of the frame that `bytes` begins with. Frames whose header is incomplete, or whose length
/// exceeds that of `bytes`, end with `bytes`.
#[must_use]
pub fn first_length(bytes: &[u8]) -> usize {
    let length = Header::parse(bytes).map(|header| (header.size as u64).saturating_add(header.length));
    length
        .and_then(|length| usize::try_from(length).ok())
        .map_or(bytes.len(), |length| length.min(bytes.len()))
}

/// Encodes a complete message whose payload is compressed (RFC 7692 section 6.1).
#[must_use]
pub fn compressed(payload: &[u8], binary: bool) -> Bytes {
    encode(data(binary), true, payload)
}

/// Returns the payload of a frame that [`message`] has encoded, and whether it is binary; `None` for a
/// frame of any other kind.
#[must_use]
pub fn payload(frame: &[u8]) -> Option<(&[u8], bool)> {
    let binary = match frame.first()? {
        0x81 => false,
        0x82 => true,
        _ => return None,
    };
    let header = match frame.get(1)? {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    Some((frame.get(header..)?, binary))
}

fn data(binary: bool) -> OpCode {
    OpCode::Data(if binary { Data::Binary } else { Data::Text })
}

/// Encodes a ping (RFC 6455 section 5.5.2). `payload` has at most [`MAX_CONTROL`] bytes.
#[must_use]
pub fn ping(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Ping), false, payload)
}

/// Encodes a pong (RFC 6455 section 5.5.3). `payload` has at most [`MAX_CONTROL`] bytes.
#[must_use]
pub fn pong(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Pong), false, payload)
}

/// Encodes a close frame (RFC 6455 section 5.5.1) with an optional code and reason. The reason is
/// truncated to the 123 bytes that fit into a control frame.
#[must_use]
pub fn close(status: Option<(u16, &str)>) -> Bytes {
    let Some((code, reason)) = status else { return encode(OpCode::Control(Control::Close), false, &[]) };
    let mut end = reason.len().min(MAX_CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let payload = [&code.to_be_bytes(), &reason.as_bytes()[..end]].concat();
    encode(OpCode::Control(Control::Close), false, &payload)
}

/// Encodes an unmasked frame with FIN set.
fn encode(opcode: OpCode, rsv1: bool, payload: &[u8]) -> Bytes {
    // The exact capacity lets `Bytes` take over the allocation without a copy.
    let mut out = Vec::with_capacity(message_length(payload.len()));
    append(&mut out, FIN | if rsv1 { RSV1 } else { 0 } | u8::from(opcode), payload);
    Bytes::from(out)
}

/// Appends an unmasked frame with this first byte.
#[inline(always)]
fn append(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    match payload.len() {
        length @ 0..=125 => out.extend_from_slice(&[first, length as u8]),
        length @ 126..=0xffff => {
            let [high, low] = (length as u16).to_be_bytes();
            out.extend_from_slice(&[first, 126, high, low]);
        }
        length => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::frame::FrameHeader;

    #[test]
    fn lengths_are_encoded_in_the_shortest_form() {
        assert_eq!(&message(b"hi", false)[..], b"\x81\x02hi");
        assert_eq!(&message(&[7; 126], true)[..4], b"\x82\x7e\x00\x7e");
        assert_eq!(&message(&[7; 65536], true)[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
        assert_eq!(&ping(b"x")[..], b"\x89\x01x");
        assert_eq!(&pong(b"x")[..], b"\x8a\x01x");
        assert_eq!(&compressed(b"hi", false)[..], b"\xc1\x02hi");
    }

    #[test]
    fn appended_messages_are_the_frames_that_are_encoded_one_by_one() {
        let mut all = Vec::new();
        let mut frames = Vec::new();
        for length in [0, 1, 125, 126, 65535, 65536] {
            append_message(&mut all, &vec![7; length], length % 2 == 0);
            frames.push(message(&vec![7; length], length % 2 == 0));
            assert_eq!(frames.last().map(Bytes::len), Some(message_length(length)));
        }
        assert!(all == frames.concat());
        let mut rest = &all[..];
        for frame in frames {
            assert_eq!(first_length(rest), frame.len());
            assert_eq!(first_length(&rest[..1]), 1, "an incomplete header");
            rest = &rest[frame.len()..];
        }
        assert_eq!(first_length(rest), 0);
    }

    #[test]
    fn a_close_reason_is_truncated_at_a_character_boundary() {
        assert_eq!(&close(None)[..], b"\x88\0");
        assert_eq!(&close(Some((1000, "")))[..], b"\x88\x02\x03\xe8");
        assert_eq!(&close(Some((4000, "bye")))[..], b"\x88\x05\x0f\xa0bye");
        let long = close(Some((1000, &"é".repeat(100))));
        assert_eq!(long.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&long[4..]).is_ok());
    }

    #[test]
    fn payload_returns_the_payload_of_an_encoded_message() {
        for length in [0, 1, 125, 126, 65535, 65536, 100_000] {
            let bytes = vec![7; length];
            assert_eq!(payload(&message(&bytes, true)), Some((&bytes[..], true)));
            assert_eq!(payload(&message(&bytes, false)), Some((&bytes[..], false)));
        }
        assert_eq!(payload(&ping(b"x")), None);
        assert_eq!(payload(&compressed(b"x", true)), None);
    }

    #[test]
    fn a_header_is_parsed_only_when_complete() {
        for length in [0_u64, 1, 125, 126, 65535, 65536, u64::MAX] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let written =
                    FrameHeader { opcode: OpCode::Data(Data::Text), rsv1: true, mask, ..Default::default() };
                let mut bytes = Vec::new();
                written.format(length, &mut bytes).unwrap();
                for cut in 0..bytes.len() {
                    assert_eq!(Header::parse(&bytes[..cut]), None, "{cut} bytes of {length}");
                }
                let size = bytes.len();
                bytes.extend(b"payload");
                let header = Header::parse(&bytes).unwrap();
                assert_eq!(header, Header { first: 0xc1, mask, length, size });
                assert!(header.fin() && header.rsv1() && header.opcode() == written.opcode);
                assert_eq!(
                    (header.has_undefined_bits(true), header.has_undefined_bits(false)),
                    (false, true)
                );
            }
        }
    }

    #[test]
    fn only_registered_and_private_codes_may_be_sent() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 4999] {
            assert!(may_be_sent(code.into()), "{code}");
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            assert!(!may_be_sent(code.into()), "{code}");
        }
    }

    #[test]
    fn the_mask_applies_to_all_bytes() {
        for size in [0, 1, 7, 8, 9, 16, 100] {
            let plain: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
            let mut masked = plain.clone();
            unmask(&mut masked, [0x11, 0xa2, 0x33, 0xc4]);
            for (i, byte) in masked.iter().enumerate() {
                assert_eq!(*byte, plain[i] ^ [0x11, 0xa2, 0x33, 0xc4][i & 3]);
            }
            assert_eq!(unmask(&mut masked, [0x11, 0xa2, 0x33, 0xc4]), plain.is_ascii());
            assert_eq!(masked, plain);
        }
    }
}
