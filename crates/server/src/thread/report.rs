//! Log lines about what happens beside the sessions of an I/O thread.

use std::net::SocketAddr;

use crate::channel::notices::{Kind, Line, Trouble, node};
use crate::error::TlsError;
use crate::thread;
use sprocket_protocol::publish::Refusal;

/// Logs the trouble with the socket of this peer.
pub(crate) fn log_trouble(remote: Option<SocketAddr>, trouble: &Trouble<'_>) {
    thread::with(|io| io.env().log(trouble.kind(), || trouble.line(remote)));
}

/// Logs that certificates were read again because their files had changed.
pub(crate) fn log_tls_reloaded(result: &Result<(), TlsError>) {
    let (kind, line) = node::reloaded(result);
    log((kind, || line));
}

/// Logs that the connection to the broker is there, or lost. `reason` says with which broker, or why.
pub(crate) fn log_broker(connected: bool, reason: &str) {
    log(node::broker(connected, reason));
}

/// Logs that a publication did not reach other workers or nodes. `topic`: empty if it is not known.
pub(crate) fn log_unpublished(topic: &str, reason: &str, uncertain: bool) {
    log(node::unpublished(topic, reason, uncertain));
}

/// Logs that a request, or a connection, was refused on the publish socket.
pub(crate) fn log_publish_refused(refusal: &Refusal) {
    log(node::publish_refused(refusal));
}

fn log((kind, line): (Kind, impl FnOnce() -> Line)) {
    thread::with(|io| io.env().log(kind, line));
}
