//! Network I/O: listening and connected sockets, TLS, streams of HTTP/2, and the turns and deadlines of reads
//! and writes.

pub(crate) mod address;
pub(crate) mod flood;
pub(crate) mod h2_charge;
pub(crate) mod h2_frame_limit;
pub(crate) mod h2_inlet;
pub(crate) mod h2_meter;
pub(crate) mod h2_progress;
pub(crate) mod h2_socket;
pub(crate) mod h2_stream;
pub(crate) mod linger;
pub(crate) mod listener;
pub(crate) mod plain_socket;
pub(crate) mod poll_turn;
pub mod preopened;
pub(crate) mod progress;
pub(crate) mod socket;
pub(crate) mod stall;
pub(crate) mod stream;
pub(crate) mod tls;
mod tls_session;
pub(crate) mod tls_stream;
pub(crate) mod unix_socket;
