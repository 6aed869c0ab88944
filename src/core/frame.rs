//! Frames that we send ourselves: encoded once, shared by everybody who gets them.

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A whole unmasked data message in one frame (RFC 6455 section 5.2).
pub(crate) fn message(payload: &[u8], binary: bool) -> Bytes {
    encode(OpCode::Data(if binary { Data::Binary } else { Data::Text }), payload)
}

/// A ping (section 5.5.2); the payload has at most 125 bytes.
pub(crate) fn ping(payload: &[u8]) -> Bytes {
    encode(OpCode::Control(Control::Ping), payload)
}

fn encode(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    let length = payload.len() as u64;
    // Exactly sized, so that `Bytes` takes the allocation over.
    let mut out = Vec::with_capacity(header.len(length) + payload.len());
    let written = header.format(length, &mut out);
    debug_assert!(written.is_ok(), "writing into a Vec cannot fail");
    out.extend_from_slice(payload);
    Bytes::from(out)
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
    }
}
