//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), without I/O, threads or a clock.
//!
//! A session of the server, or a client, reads bytes from its socket and feeds them to a
//! [`Decoder`], which returns messages and control frames. The frames that it sends come from
//! [`frame`], and from [`deflate`] where the handshake has agreed on compression.
//!
//! ```text
//! decoder.rs                              bytes in; messages and control frames out
//! decoder/                                one message on its way; where the bytes come from
//! deflate.rs                              permessage-deflate
//! deflate/compressor.rs  deflate/decompressor.rs
//! deflate/memory.rs                       what the windows of connections may take
//! deflate/negotiation.rs  frame.rs  utf8.rs  error.rs
//! forwarded.rs  proxy_protocol.rs         headers of proxies and load balancers
//! publish.rs                              requests and answers on a publish socket
//! topic.rs  pem.rs                        names of topics; files of certificates and keys
//! ```
//!
//! Imports go downward in this picture.
#![forbid(unsafe_code)]

pub mod decoder;
pub mod deflate;
pub mod error;
pub mod forwarded;
pub mod frame;
pub mod pem;
pub mod proxy_protocol;
pub mod publish;
pub mod topic;
mod utf8;

pub use decoder::{Decoder, Event, Message};
pub use error::DecodeError;
