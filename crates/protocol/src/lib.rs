//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), without I/O, threads or a clock.
//!
//! A session of the server, or a client, reads bytes from its socket and feeds them to a
//! [`Decoder`], which returns messages and control frames. The frames that it sends come from
//! [`frame`], and from [`deflate`] where the handshake has agreed on compression.
//!
//! ```text
//! decoder                                             bytes in; messages and control frames out
//! decoder::assembly                                   one message on its way
//! decoder::input   deflate::{compressor, decompressor}
//! deflate::negotiation   frame   utf8   error
//! ```
//!
//! Imports go downward in this picture.
#![forbid(unsafe_code)]

pub mod decoder;
pub mod deflate;
pub mod error;
pub mod frame;
mod utf8;

pub use decoder::{Decoder, Event, Message};
pub use error::DecodeError;
