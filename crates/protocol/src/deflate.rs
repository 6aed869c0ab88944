//! permessage-deflate (RFC 7692).

mod compressor;
pub(crate) mod decompressor;
mod memory;
mod negotiation;

pub use compressor::{Compressor, Compressors, Fanout};
pub use decompressor::Inflaters;
pub use memory::{Agreed, Windows};
pub use negotiation::{Compressed, Compression, Malformed, Params, negotiate};
