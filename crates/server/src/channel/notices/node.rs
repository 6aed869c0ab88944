//! Log lines about certificates, the broker, the publish socket, and publications to other workers and
//! nodes.

use super::line::{Level, Line, LineKind};
use crate::error::TlsError;
use sprocket_protocol::publish::Refusal;

/// Returns the line about the result of reloading certificates.
pub fn tls_reloaded(result: &Result<(), TlsError>) -> Line {
    let (kind, line) = reloaded(result);
    line.of(kind)
}

/// Returns the line about the result of reloading certificates, and its kind.
pub(crate) fn reloaded(result: &Result<(), TlsError>) -> (LineKind, Line) {
    match result {
        Ok(()) => (
            LineKind::new(Level::Notice, "tls.reloaded", "tls"),
            Line::new("Certificates and keys were reloaded; new connections use them"),
        ),
        Err(error) => (
            LineKind::new(Level::Error, "tls.reload_failed", "tls"),
            Line::new(format!("Certificates and keys could not be reloaded: {error}"))
                .with("reason", error.to_string().as_str()),
        ),
    }
}

/// Returns the line about a connection to the broker that was established or lost. `reason` names the broker,
/// or the cause of the loss.
pub(crate) fn broker(connected: bool, reason: &str) -> (LineKind, impl FnOnce() -> Line) {
    let (kind, message) = if connected {
        (LineKind::new(Level::Notice, "broker.connected", "broker"), "The broker is connected")
    } else {
        (LineKind::new(Level::Warning, "broker.lost", "broker"), "The broker is not connected")
    };
    (kind, move || Line::new(format!("{message}: {reason}")).with("reason", reason))
}

/// Returns the line about a publication that did not reach other workers or nodes. An empty `topic` means
/// that the topic is not known.
pub(crate) fn unpublished(topic: &str, reason: &str, uncertain: bool) -> (LineKind, impl FnOnce() -> Line) {
    let line = move || {
        let message = match topic {
            "" => format!("Publications were lost: {reason}"),
            topic => format!("A publication to the topic {topic} was lost: {reason}"),
        };
        Line::new(message).with("topic", topic).with("reason", reason).with("uncertain", uncertain)
    };
    (LineKind::new(Level::Error, "publication.lost", ""), line)
}

/// Returns the line about a request or connection that the publish socket refused.
pub(crate) fn publish_refused(refusal: &Refusal) -> (LineKind, impl FnOnce() -> Line) {
    let (level, option) = match refusal {
        Refusal::TooLarge { .. } => (Level::Warning, "sendBufferLimit"),
        Refusal::Broker(_) | Refusal::Partly(_) => (Level::Warning, "brokerQueue"),
        _ => (Level::Notice, ""),
    };
    let line = move || {
        let deciding = if option.is_empty() { String::new() } else { format!(" (option {option})") };
        let reason = format!("{refusal}{deciding}");
        Line::new(format!("Publication refused on the publish socket: {reason}"))
            .with("code", refusal.code())
            .with("reason", reason.as_str())
    };
    (LineKind::new(level, "publish.refused", option), line)
}
