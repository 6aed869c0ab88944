//! Log lines of an I/O thread that concern no session: sockets, certificates, the broker, and
//! publications.

use std::net::SocketAddr;

use crate::channel::notices::{Line, LineKind, SocketFailure, node};
use crate::error::TlsError;
use crate::thread;
use sprocket_protocol::publish::Refusal;

/// Logs why the socket of this peer was closed or refused.
pub(crate) fn log_socket_failure(remote: Option<SocketAddr>, failure: &SocketFailure<'_>) {
    thread::with(|io| io.context().log(failure.kind(), || failure.line(remote)));
}

/// Logs the result of reloading certificates whose files had changed.
pub(crate) fn log_tls_reloaded(result: &Result<(), TlsError>) {
    let (kind, line) = node::reloaded(result);
    log((kind, || line));
}

/// Logs that the connection to the broker is established or lost. `reason` names the broker, or the cause
/// of the loss.
pub(crate) fn log_broker(connected: bool, reason: &str) {
    log(node::broker(connected, reason));
}

/// Logs that a publication did not reach other workers or nodes. An empty `topic` means that the topic is
/// not known.
pub(crate) fn log_unpublished(topic: &str, reason: &str, uncertain: bool) {
    log(node::unpublished(topic, reason, uncertain));
}

/// Logs that the publish socket refused a request or a connection.
pub(crate) fn log_publish_refused(refusal: &Refusal) {
    log(node::publish_refused(refusal));
}

fn log((kind, line): (LineKind, impl FnOnce() -> Line)) {
    thread::with(|io| io.context().log(kind, line));
}
