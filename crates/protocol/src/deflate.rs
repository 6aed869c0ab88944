//! The extension permessage-deflate (RFC 7692): its negotiation, compression of messages to send,
//! decompression of received ones, and the limit on the memory for both.

mod compressor;
pub(crate) mod decompressor;
mod memory;
mod negotiation;

pub use compressor::{Compressor, Compressors, Fanout};
pub use decompressor::Inflaters;
pub use memory::{Agreed, Windows};
pub use negotiation::{Compressed, Compression, Malformed, Params, negotiate};
