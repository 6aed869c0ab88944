//! permessage-deflate (RFC 7692).

pub(crate) mod decompressor;
mod negotiation;

pub use decompressor::Inflaters;
pub use negotiation::{Compression, Malformed, Params, negotiate};
