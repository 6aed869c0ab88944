//! Lines about certificates, the broker, and publications for other workers and nodes.

use super::{Kind, Level, Line};
use crate::error::TlsError;
use crate::io;
use crate::publish_wire::Refusal;

/// The line about certificates that were read again, or could not be.
pub fn tls_reloaded(result: &Result<(), TlsError>) -> Line {
    let (kind, line) = reloaded(result);
    line.of(kind)
}

fn reloaded(result: &Result<(), TlsError>) -> (Kind, Line) {
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

/// Logs that certificates were read again because their files had changed.
pub(crate) fn log_tls_reloaded(result: &Result<(), TlsError>) {
    let (kind, line) = reloaded(result);
    io::with(|io| io.env().log(kind, || line));
}

/// Logs that the connection to the broker is there, or lost. `reason` says with which broker, or why.
pub(crate) fn log_broker(connected: bool, reason: &str) {
    let (kind, message) = if connected {
        (Kind::new(Level::Notice, "broker.connected", "broker"), "The broker is connected")
    } else {
        (Kind::new(Level::Warning, "broker.lost", "broker"), "The broker is not connected")
    };
    let line = || Line::new(format!("{message}: {reason}")).with("reason", reason);
    io::with(|io| io.env().log(kind, line));
}

/// Logs that a publication did not reach other workers or nodes. `topic`: empty if it is not known.
pub(crate) fn log_unpublished(topic: &str, reason: &str, uncertain: bool) {
    let line = || {
        let message = match topic {
            "" => format!("Publications were lost: {reason}"),
            topic => format!("A publication to the topic {topic} was lost: {reason}"),
        };
        Line::new(message).with("topic", topic).with("reason", reason).with("uncertain", uncertain)
    };
    io::with(|io| io.env().log(Kind::new(Level::Error, "publication.lost", ""), line));
}

/// Logs that a request, or a connection, was refused on the publish socket.
pub(crate) fn log_publish_refused(refusal: &Refusal) {
    let (level, option) = match refusal {
        Refusal::TooLarge { .. } => (Level::Warning, "sendBufferLimit"),
        Refusal::Broker(_) | Refusal::Partly(_) => (Level::Warning, "brokerQueue"),
        _ => (Level::Notice, ""),
    };
    let line = || {
        let deciding = if option.is_empty() { String::new() } else { format!(" (option {option})") };
        let reason = format!("{refusal}{deciding}");
        Line::new(format!("Publication refused on the publish socket: {reason}"))
            .with("code", refusal.code())
            .with("reason", reason.as_str())
    };
    io::with(|io| io.env().log(Kind::new(level, "publish.refused", option), line));
}
