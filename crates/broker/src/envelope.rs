//! The envelope of a message between nodes, for a broker without headers (Redis).
//!
//! ```text
//! 0x00 's' 'p' 'k'   distinguishes it from the payload of another program
//! flags              bit 0: binary; the others are 0
//! node               8 bytes, big-endian; 0: not a node
//! number             8 bytes, big-endian; 0: not numbered
//! length, position   1 byte, and as many of ASCII; 0: the topic has no history
//! payload
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// Cannot be the beginning of a text message; later formats must begin differently, too.
const MAGIC: &[u8; 4] = b"\0spk";
const FIXED: usize = 22;
const BINARY: u8 = 1;

/// A message of a broker, without its envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Body {
    /// Number of the sending node; 0: the sender is not a node.
    pub(super) node: u64,
    /// Sequence number among the node's publications; 0: not numbered.
    pub(super) number: u64,
    pub(super) binary: bool,
    /// Position in the topic's history.
    pub(super) position: Option<String>,
    /// Position of the topic's previous message, if the broker provides it.
    pub(super) previous: Option<String>,
    pub(super) payload: Bytes,
}

impl Body {
    /// A message without an envelope, from a sender that is not a node: text if it is valid UTF-8.
    pub(super) fn foreign(payload: Bytes) -> Self {
        Self { binary: std::str::from_utf8(&payload).is_err(), payload, ..Self::default() }
    }

    /// Declares the payload binary if it is not valid UTF-8.
    pub(super) fn checked(mut self) -> Self {
        self.binary = self.binary || std::str::from_utf8(&self.payload).is_err();
        self
    }
}

/// The part of the envelope in front of the position. The Redis script appends position and payload.
pub(super) fn head(node: u64, number: u64, binary: bool) -> [u8; FIXED - 1] {
    let mut head = [0; FIXED - 1];
    head[..4].copy_from_slice(MAGIC);
    head[4] = if binary { BINARY } else { 0 };
    head[5..13].copy_from_slice(&node.to_be_bytes());
    head[13..].copy_from_slice(&number.to_be_bytes());
    head
}

/// A message without a position.
pub(super) fn seal(node: u64, number: u64, binary: bool, payload: &[u8]) -> Bytes {
    let mut sealed = BytesMut::with_capacity(FIXED + payload.len());
    sealed.put_slice(&head(node, number, binary));
    sealed.put_u8(0);
    sealed.put_slice(payload);
    sealed.freeze()
}

/// Encodes a message from a sender that is not a node: without an envelope, unless the receiver would
/// misread the bare payload.
pub(crate) fn plain(binary: bool, payload: &[u8]) -> Bytes {
    if !binary && payload.first() != Some(&0) {
        Bytes::copy_from_slice(payload)
    } else {
        seal(0, 0, binary, payload)
    }
}

/// Parses a message with or without an envelope.
pub(super) fn open(message: Bytes) -> Body {
    let Some(at) = payload_at(&message) else { return Body::foreign(message) };
    let number = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&message[at..at + 8]);
        u64::from_be_bytes(eight)
    };
    let position = String::from_utf8_lossy(&message[FIXED..at]).into_owned();
    Body {
        node: number(5),
        number: number(13),
        binary: message[4] & BINARY != 0,
        position: (!position.is_empty()).then_some(position),
        previous: None,
        payload: message.slice(at..),
    }
    .checked()
}

fn payload_at(message: &[u8]) -> Option<usize> {
    let at = FIXED + usize::from(*message.get(FIXED - 1)?);
    let ours = message.starts_with(MAGIC) && message[4] & !BINARY == 0;
    (ours && message.get(FIXED..at)?.is_ascii()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_message_opens_to_the_same_content() {
        for (binary, payload) in
            [(false, &b"gr\xc3\xb6\xc3\x9fer"[..]), (true, b"\xff\0"), (false, b""), (true, b"text")]
        {
            let body = open(seal(u64::MAX - 1, 7, binary, payload));
            let payload = Bytes::from_static(payload);
            let expected = Body { node: u64::MAX - 1, number: 7, binary, payload, ..Body::default() };
            assert_eq!(body, expected);
        }
        let mut message = head(1, 2, true).to_vec();
        message.extend_from_slice(b"\x0417-3payload");
        let body = open(message.into());
        assert_eq!((body.position.as_deref(), &body.payload[..]), (Some("17-3"), &b"payload"[..]));
    }

    #[test]
    fn others_need_to_know_nothing_of_it() {
        for (payload, binary) in [(&b"hello"[..], false), (b"\xff", true), (b"", false), (b"\0spk", false)] {
            assert_eq!(
                open(Bytes::from_static(payload)),
                Body { binary, payload: payload.into(), ..Body::default() }
            );
        }
        for (payload, binary) in [(&b"hello"[..], false), (b"hello", true), (b"\0spk", false), (b"\0", true)]
        {
            let body = open(plain(binary, payload));
            assert_eq!(body, Body { binary, payload: payload.into(), ..Body::default() });
        }
        assert_eq!(&plain(false, b"hello")[..], b"hello");
    }

    #[test]
    fn a_similar_beginning_is_part_of_a_plain_payload() {
        let whole = seal(1, 2, true, b"");
        for length in 0..whole.len() {
            assert_eq!(open(whole.slice(..length)).node, 0, "{length}");
        }
        let mut other = whole.to_vec();
        other[4] = 2;
        assert_eq!(open(other.into()).node, 0);
        let mut long = whole.to_vec();
        long[FIXED - 1] = 1;
        assert_eq!(open(long.into()).node, 0);
        assert!(open(seal(1, 2, false, b"\xff")).binary);
    }
}
