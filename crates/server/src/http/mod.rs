//! HTTP/1.1 and HTTP/2 connections, up to the handshake of a WebSocket or the end of a response.

pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod handshake;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod hyper_io;
pub(crate) mod preamble;
pub(crate) mod refusal;
pub(crate) mod request_clock;
pub(crate) mod responses;
pub(crate) mod stream_body;
pub(crate) mod switching;
pub(crate) mod target;
