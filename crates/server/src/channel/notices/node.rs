//! Lines about certificates, the broker, and publications for other workers and nodes.

use super::line::{Kind, Level, Line};
use crate::error::TlsError;
use sprocket_protocol::publish::Refusal;

/// The line about certificates that were read again, or could not be.
pub fn tls_reloaded(result: &Result<(), TlsError>) -> Line {
    let (kind, line) = reloaded(result);
    line.of(kind)
}

/// The same with its kind.
pub(crate) fn reloaded(result: &Result<(), TlsError>) -> (Kind, Line) {
    match result {
        Ok(()) => (
            Kind::new(Level::Notice, "tls.reloaded", "tls"),
            Line::new("Certificates and keys were read again; new connections get them"),
        ),
        Err(error) => (
            Kind::new(Level::Error, "tls.reload_failed", "tls"),
            Line::new(format!("Certificates and keys were not replaced: {error}"))
                .with("reason", error.to_string().as_str()),
        ),
    }
}

/// The line about the connection to the broker. `reason` says with which broker, or why it is lost.
pub(crate) fn broker(connected: bool, reason: &str) -> (Kind, impl FnOnce() -> Line) {
    let (kind, message) = if connected {
        (Kind::new(Level::Notice, "broker.connected", "broker"), "The broker is connected")
    } else {
        (Kind::new(Level::Warning, "broker.lost", "broker"), "The broker is not connected")
    };
    (kind, move || Line::new(format!("{message}: {reason}")).with("reason", reason))
}

/// The line about a publication that did not reach other workers or nodes. `topic` is empty if it is
/// not known.
pub(crate) fn unpublished(topic: &str, reason: &str, uncertain: bool) -> (Kind, impl FnOnce() -> Line) {
    let line = move || {
        let message = match topic {
            "" => format!("Publications were lost: {reason}"),
            topic => format!("A publication to the topic {topic} was lost: {reason}"),
        };
        Line::new(message).with("topic", topic).with("reason", reason).with("uncertain", uncertain)
    };
    (Kind::new(Level::Error, "publication.lost", ""), line)
}

/// The line about a request, or a connection, that was refused on the publish socket.
pub(crate) fn publish_refused(refusal: &Refusal) -> (Kind, impl FnOnce() -> Line) {
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
    (Kind::new(level, "publish.refused", option), line)
}
