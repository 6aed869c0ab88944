//! HTTP/1.1 and HTTP/2 connections: from the accepted socket up to the handshake of a WebSocket, or
//! to the end of the last response.
//!
//! `preamble` handles PROXY headers and TLS handshakes; `fast_handshake` accepts most WebSockets; `http1`
//! and `http2` drive the libraries hyper and h2 for everything else; `exchange` answers each request,
//! whichever version of HTTP it uses.

pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod fast_handshake;
pub(crate) mod handshake;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod hyper_io;
pub(crate) mod preamble;
pub(crate) mod refusal;
pub(crate) mod request_clock;
pub(crate) mod request_line;
pub(crate) mod responses;
pub(crate) mod stream_body;
pub(crate) mod switching;
pub(crate) mod target;
pub(crate) mod transfer_coding;
