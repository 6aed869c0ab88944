//! Connecting to NATS.

use std::error::Error;
use std::io::{self, ErrorKind};

use async_nats::{Client, ConnectError, ConnectErrorKind, Event, ServerError};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::call::Call;
use super::publish_error::PublishError;
use crate::nats::link;
use crate::url::{BrokerUrl, Place};

/// Maximum length of an error that is reported, in characters.
const SHOWN: usize = 1000;
/// Capacity of the library's channels, which hold one or two messages at a time.
const WAITING: usize = 16;
/// Initial size of the library's read buffer in bytes.
const BUFFER: u16 = 4096;

/// Connects to one server. Returns the client, and the receiver of its events.
pub(super) async fn connect(
    url: &BrokerUrl,
    place: &Place,
    call: &Call<'_>,
) -> Result<(Client, UnboundedReceiver<Event>), PublishError> {
    let Some(address) = link::address(place) else {
        return Err(call.unreachable(ErrorKind::Unsupported.into()));
    };
    let (told, events) = unbounded_channel();
    let options = link::options(url, told, link::NEVER)
        .connection_timeout(call.left())
        .read_buffer_capacity(BUFFER)
        .client_capacity(WAITING)
        .subscription_capacity(WAITING);
    // In a task of its own, so that a panic of the library does not end the call.
    match tokio::spawn(options.connect(address)).await {
        Ok(Ok(client)) => Ok((client, events)),
        Ok(Err(error)) => Err(not_connected(&error, call)),
        Err(_) => Err(call.closed()),
    }
}

/// The text of an error, as the server has sent it.
pub(super) fn words(error: &ServerError) -> String {
    match error {
        ServerError::AuthorizationViolation => "Authorization Violation".to_owned(),
        ServerError::Other(text) => text.chars().take(SHOWN).collect(),
        other => other.to_string(),
    }
}

fn not_connected(error: &ConnectError, call: &Call<'_>) -> PublishError {
    let refused = |error: &str| call.refused("refused", format!("NATS refuses the connection: {error}"));
    let source = error.source();
    let said = source.map_or_else(|| error.to_string(), ToString::to_string);
    if let Some(error) = source.and_then(|source| source.downcast_ref::<ServerError>()) {
        return refused(&words(error));
    }
    if let Some(source) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return match source.kind() {
            // The library could not parse the answer.
            ErrorKind::InvalidInput => call.foreign(quoted_line(&said).as_bytes()),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => call.closed(),
            kind => call.unreachable(
                source
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(kind, said), io::Error::from_raw_os_error),
            ),
        };
    }
    match error.kind() {
        ConnectErrorKind::TimedOut => call.not_taken(),
        ConnectErrorKind::AuthorizationViolation => refused(&said),
        ConnectErrorKind::Io => match said.strip_prefix("expected INFO, got ") {
            Some("nothing") | None => call.closed(),
            // The server sends an error at once if it has too many connections.
            Some(other) => match other.strip_prefix("Error(") {
                Some(error) => call.refused("error", quoted(error).to_owned()),
                None => call.foreign(other.as_bytes()),
            },
        },
        _ => call.unreachable(io::Error::other(said)),
    }
}

/// The line that the library could not parse, from the text of its error.
fn quoted_line(said: &str) -> &str {
    let line = said.strip_prefix("invalid server operation: '").and_then(|line| line.strip_suffix('\''));
    line.unwrap_or(said)
}

/// The text of the server's error, from the debug output of the library's.
fn quoted(shown: &str) -> &str {
    let text = shown.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
    text.map_or(shown.trim_end_matches(')'), |(text, _)| text)
}
