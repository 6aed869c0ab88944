//! Log lines of an I/O thread that concern no session: sockets, certificates, the broker, and
//! publications.

use std::net::SocketAddr;

use crate::channel::notices::{Kind, Line, Trouble, node};
use crate::error::TlsError;
use crate::thread;
use sprocket_protocol::publish::Refusal;

/// Logs why the socket of this peer was closed or refused.
pub(crate) fn log_trouble(remote: Option<SocketAddr>, trouble: &Trouble<'_>) {
    thread::with(|io| io.context().log(trouble.kind(), || trouble.line(remote)));
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

fn log((kind, line): (Kind, impl FnOnce() -> Line)) {
    thread::with(|io| io.context().log(kind, line));
}
