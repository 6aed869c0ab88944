//! The WebSocket protocol (RFC 6455) and its compression (RFC 7692), without I/O, threads or a clock.
//!
//! A session of the server, or a client, reads bytes from its socket and feeds them to a [`Decoder`],
//! which returns messages and control frames. Frames to send are built by [`frame`]; their payload is
//! compressed by [`deflate`] if the handshake has negotiated compression. A second group of modules
//! parses the other text and binary formats of the server: the headers of proxies, the protocol of the
//! publish socket, topic names and PEM files. The only module with I/O is [`pem`], which reads files, so
//! that server and broker report an unreadable certificate by the same error.
//!
//! ```text
//! decoder.rs                              bytes in; messages and control frames out
//! decoder/                                the message being assembled; the source of bytes
//! deflate.rs                              permessage-deflate
//! deflate/compressor.rs  deflate/decompressor.rs
//! deflate/memory.rs                       memory limit for the connections' windows
//! deflate/negotiation.rs  frame.rs  utf8.rs  error.rs
//! forwarded.rs  proxy_protocol.rs         headers of proxies and load balancers
//! authority.rs                            hosts with ports
//! publish.rs                              requests and answers on a publish socket
//! topic.rs  pem.rs                        names of topics; certificate and key files
//! ```
//!
//! A module imports only modules on its own line or below it.
#![forbid(unsafe_code)]

pub mod authority;
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
