//! The protocol engine (tungstenite) behind a gate: it reads from bytes that we have read, and
//! what it writes (pongs, close frames) goes to the connection's outbox.

use bytes::Bytes;
use std::io::{self, Read, Write};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};

use crate::conn::Shared;
use crate::outbox::Outbox;
use crate::track::Tracker;

#[cfg(any(test, fuzzing))]
pub(crate) mod harness;

/// What the engine takes from the gate at once. It zeroes as much before each read: 4 KiB cost
/// about 50 ns, its default of 128 KiB more than a system call.
const ENGINE_READ: usize = 4 << 10;

/// What is said of a text that is none (RFC 6455 section 8.1).
pub(crate) const INVALID_TEXT: &str = "text is not valid UTF-8";

/// An engine and the position that it has reached. A connection needs one only while it stands
/// inside a message; between messages it goes back to the pool of its thread.
#[derive(Debug)]
pub(crate) struct Codec {
    pub(crate) engine: WebSocketContext,
    pub(crate) tracker: Tracker,
}

impl Codec {
    pub(crate) fn new(max_message_size: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(ENGINE_READ)
            .write_buffer_size(0)
            .max_message_size(Some(max_message_size))
            .max_frame_size(Some(max_message_size));
        Self { engine: WebSocketContext::new(Role::Server, Some(config)), tracker: Tracker::default() }
    }
}

/// What the engine believes to be its socket.
pub(crate) struct Gate<'a> {
    pub(crate) input: &'a [u8],
    pub(crate) out: &'a mut Outbox,
    pub(crate) conn: &'a Shared,
}

impl Read for Gate<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.input.read(buf)
    }
}

impl Write for Gate<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // The engine hands over whole frames: pongs and close frames.
        const PONG: u8 = 0x8a;
        let frame = Bytes::copy_from_slice(buf);
        self.conn.add_buffered(buf.len());
        if buf.first() == Some(&PONG) {
            self.conn.sub_buffered(self.out.push_pong(frame));
        } else {
            self.out.push(frame);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The close code and words for what the engine objects to (RFC 6455 section 7.4.1).
pub(crate) fn failure(error: &Error) -> (u16, String) {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            (1009, format!("message of {size} bytes, at most {max_size} are allowed"))
        }
        Error::Utf8(_) => (1007, INVALID_TEXT.into()),
        Error::Protocol(ProtocolError::InvalidCloseSequence) => (1002, "invalid close frame".into()),
        Error::Protocol(error) => (1002, words(error)),
        other => (1002, other.to_string()),
    }
}

/// In the words of the RFC; the engine's own messages are for its Rust users.
fn words(error: &ProtocolError) -> String {
    match error {
        ProtocolError::UnmaskedFrameFromClient => "client frame is not masked",
        ProtocolError::NonZeroReservedBits => "reserved bits are set without an extension",
        ProtocolError::FragmentedControlFrame => "fragmented control frame",
        ProtocolError::ControlFrameTooBig => "control frame over 125 bytes",
        ProtocolError::UnknownControlFrameType(_) | ProtocolError::UnknownDataFrameType(_) => {
            "reserved opcode"
        }
        ProtocolError::UnexpectedContinueFrame => "continuation without a message to continue",
        ProtocolError::ExpectedFragment(_) => "new message inside a fragmented one",
        other => return other.to_string(),
    }
    .into()
}

/// A close frame; the reason is cut to what a control frame holds (123 bytes).
pub(crate) fn close_frame(code: u16, reason: &str) -> CloseFrame {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() }
}
