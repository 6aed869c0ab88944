//! Frames that we send ourselves: encoded once, shared by everybody who gets them.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A whole unmasked data message in one frame (RFC 6455 section 5.2).
pub(crate) fn message(payload: &[u8], binary: bool) -> Bytes {
    encode(data(binary), false, payload)
}

/// The same message with a compressed payload (RFC 7692 section 6.1).
pub(crate) fn compressed(payload: &[u8], binary: bool) -> Bytes {
    encode(data(binary), true, payload)
}

/// What one of our messages holds, `None` for another kind of frame; and whether it is binary.
pub(crate) fn payload(frame: &[u8]) -> Option<(&[u8], bool)> {
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

/// A ping (section 5.5.2); the payload has at most 125 bytes.
pub(crate) fn ping(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Ping), false, payload)
}

/// A pong (section 5.5.3); the payload has at most 125 bytes.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Pong), false, payload)
}

/// A close frame (section 5.5.1); the payload, code and reason, has at most 125 bytes.
pub(crate) fn close(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Close), false, payload)
}

fn encode(opcode: OpCode, rsv1: bool, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode, rsv1, ..FrameHeader::default() };
    let length = payload.len() as u64;
    // Exactly sized, so that `Bytes` takes the allocation over.
    let mut out = Vec::with_capacity(header.len(length) + payload.len());
    let written = header.format(length, &mut out);
    debug_assert!(written.is_ok(), "writing into a Vec cannot fail");
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// A frame of a client, for tests: `first` is its first byte.
#[cfg(test)]
pub(crate) fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=65535 => {
            out.push(0x80 | 126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_as_the_rfc_says() {
        assert_eq!(&message(b"hi", false)[..], b"\x81\x02hi");
        assert_eq!(&message(&[7; 126], true)[..4], b"\x82\x7e\x00\x7e");
        assert_eq!(&message(&[7; 65536], true)[..10], b"\x82\x7f\0\0\0\0\0\x01\0\0");
        assert_eq!(&ping(b"x")[..], b"\x89\x01x");
        assert_eq!(&pong(b"x")[..], b"\x8a\x01x");
        assert_eq!(&compressed(b"hi", false)[..], b"\xc1\x02hi");
    }

    #[test]
    fn the_payload_of_a_message_is_found_again() {
        for length in [0, 1, 125, 126, 65535, 65536, 100_000] {
            let bytes = vec![7; length];
            assert_eq!(payload(&message(&bytes, true)), Some((&bytes[..], true)));
            assert_eq!(payload(&message(&bytes, false)), Some((&bytes[..], false)));
        }
        assert_eq!(payload(&ping(b"x")), None);
        assert_eq!(payload(&compressed(b"x", true)), None);
    }
}
