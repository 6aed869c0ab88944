//! Error type of the decoder: the ways in which received bytes violate the protocol or a limit.

/// A violation of the protocol or of a limit. The receiver fails the connection: it sends a close
/// frame with [`close_code`](DecodeError::close_code) and the error's text as its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RFC 6455 section 5.1: a server accepts masked frames only.
    #[error("client frame is not masked")]
    NotMasked,
    /// RFC 6455 section 5.1: a client accepts unmasked frames only.
    #[error("server frame is masked")]
    Masked,
    /// RFC 6455 section 5.2: no extension that defines the reserved bits was negotiated.
    #[error("reserved bits are set without an extension")]
    ReservedBits,
    /// RFC 7692 section 6: only the first frame of a message is marked as compressed.
    #[error("reserved bit 1 is set on a control or continuation frame")]
    MisplacedRsv1,
    /// RFC 6455 section 5.2: the opcode has no meaning defined.
    #[error("reserved opcode {0}")]
    ReservedOpcode(u8),
    /// RFC 6455 section 5.5: control frames cannot be fragmented.
    #[error("fragmented control frame")]
    FragmentedControl,
    /// RFC 6455 section 5.5: the payload of a control frame has at most 125 bytes.
    #[error("control frame over 125 bytes")]
    ControlTooLong,
    /// RFC 6455 section 5.4: a continuation frame belongs to the message that an earlier frame has
    /// begun.
    #[error("continuation without a message to continue")]
    UnexpectedContinuation,
    /// RFC 6455 section 5.4: the fragments of two messages must not be interleaved.
    #[error("new message inside a fragmented one")]
    ExpectedContinuation,
    /// RFC 6455 section 5.5.1: the payload of a close frame is either empty or begins with a code of
    /// two bytes.
    #[error("invalid close frame")]
    InvalidClose,
    /// RFC 6455 section 8.1, for a text message and for the reason in a close frame.
    #[error("text is not valid UTF-8")]
    InvalidText,
    /// RFC 7692 section 7.2.2: the payload is not what a DEFLATE compressor produces.
    #[error("invalid compressed data")]
    InvalidCompression,
    /// The message exceeds the message limit.
    #[error("message of {size} bytes exceeds the limit of {max}")]
    TooLong {
        /// Size of the message in bytes, as far as its frame headers announce it.
        size: u64,
        /// The message limit in bytes.
        max: usize,
    },
    /// The compressed message is so large that its content must exceed the message limit, however well
    /// it is compressed.
    #[error("compressed message of {size} bytes exceeds the limit of {max} when inflated")]
    CompressedTooLong {
        /// Compressed size of the message in bytes, as far as its frame headers announce it.
        size: u64,
        /// The message limit in bytes.
        max: usize,
    },
    /// The message exceeds the message limit after decompression.
    #[error("message exceeds the limit of {max} bytes when inflated")]
    InflatedTooLong {
        /// The message limit in bytes.
        max: usize,
    },
}

impl DecodeError {
    /// Returns the code of the close frame that the receiver sends (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(&self) -> u16 {
        match self {
            Self::InvalidText | Self::InvalidCompression => 1007,
            Self::TooLong { .. } | Self::CompressedTooLong { .. } | Self::InflatedTooLong { .. } => 1009,
            _ => 1002,
        }
    }
}
