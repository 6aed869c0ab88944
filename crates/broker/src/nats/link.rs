//! A connection by the crate `async-nats`.

use async_nats::connection::State;
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerError,
};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::connect::tls_failed;
use crate::url::{BrokerUrl, Credentials, Place};

/// Maximum number of messages that wait in a subscription: more than the library can read in one
/// turn, which is 128 times 64 KiB.
const BEHIND: usize = 1 << 20;
/// Size of one read of the library in bytes, unless a larger message is under way. In one turn the
/// library parses everything that it reads, before anybody takes the messages.
const READ: u16 = 16 << 10;
/// Maximum number of turns that the library may take for the handshake: DNS lookup, connecting, TLS,
/// and two lines of the server. Half a dozen are usual without TLS. In each turn the library reads
/// what the socket holds, usually up to 2 MiB and at most 6 MiB. The maximum keeps a server whose
/// first line does not end from exhausting the memory.
const GREETING: u32 = 14;
/// The same for a connection with TLS.
const GREETING_TLS: u32 = 24;
/// Maximum length of an error of the server that is reported, in characters.
const SHOWN: usize = 1000;
/// Effectively never.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Options for the library. Its events go to `events`. After the connection has ended, it reconnects
/// when `again` has passed. With [`NEVER`] its tasks wait until their runtime ends: a new connection
/// would lose or repeat what was sent on the first one.
fn options(url: &BrokerUrl, events: UnboundedSender<Event>, again: Duration) -> ConnectOptions {
    let first = AtomicBool::new(true);
    let mut options = ConnectOptions::new()
        .name("sprocket")
        .ignore_discovered_servers()
        .require_tls(url.tls)
        // The session sends pings itself.
        .ping_interval(NEVER)
        // The library calls this before the first connection, too. The default would wait for a
        // timer.
        .reconnect_to_server_callback(move |servers, _| {
            let delay = if first.swap(false, Ordering::Relaxed) { Duration::ZERO } else { again };
            let server = servers.into_iter().next();
            std::future::ready(
                server.map(|server| ReconnectToServer { addr: server.addr, delay: Some(delay) }),
            )
        })
        .event_callback(move |event| {
            // An error means that the receiver was dropped.
            let _ = events.send(event);
            std::future::ready(())
        });
    // The library reads the files for each connection, so that a renewed certificate needs no
    // restart.
    if let Some(ca) = &url.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &url.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    match url.credentials.clone() {
        Credentials { user: Some(user), password } => {
            options.user_and_password(user, password.unwrap_or_default())
        }
        Credentials { user: None, password: Some(token) } => options.token(token),
        Credentials { user: None, password: None } => options,
    }
}

/// Why a connection could not be established.
pub(crate) enum ConnectFailure {
    /// Connecting or the TLS handshake has failed, or a certificate of the address can't be used.
    Unreachable(io::Error),
    /// The handshake was not complete in time.
    TimedOut,
    /// The server ended the connection during the handshake.
    Closed,
    /// The server refuses the client, or is too old: a code of one word, and a sentence.
    Refused { code: &'static str, reason: String },
    /// The server sends something else than the library can parse: the beginning of it, or what is
    /// wrong with it.
    Foreign(String),
    /// The library cannot cope with what the server sends.
    Malformed,
}

impl ConnectFailure {
    fn refused(code: &'static str, error: &str) -> Self {
        Self::Refused { code, reason: format!("NATS refuses the connection: {error}") }
    }

    /// Interprets an error of the library.
    fn of(error: &ConnectError) -> Self {
        let source = error.source();
        let text = source.map_or_else(|| error.to_string(), ToString::to_string);
        if let Some(error) = source.and_then(|source| source.downcast_ref::<ServerError>()) {
            return Self::refused("refused", &words(error));
        }
        if let Some(source) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
            return match source.kind() {
                // The library could not parse the answer.
                ErrorKind::InvalidInput => Self::Foreign(quoted_line(&text).to_owned()),
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Closed,
                kind => Self::Unreachable(match source.raw_os_error() {
                    Some(number) => io::Error::from_raw_os_error(number),
                    None => io::Error::new(kind, text),
                }),
            };
        }
        match error.kind() {
            ConnectErrorKind::TimedOut => Self::TimedOut,
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                Self::refused("refused", &text)
            }
            ConnectErrorKind::Io => match text.strip_prefix("expected INFO, got ") {
                Some("nothing") | None => Self::Closed,
                // The server sends an error at once if it has too many connections.
                Some(other) => match other.strip_prefix("Error(") {
                    Some(error) => Self::refused("error", quoted(error)),
                    None => Self::Foreign(other.to_owned()),
                },
            },
            ConnectErrorKind::Tls => Self::Unreachable(tls_failed(io::Error::other(text))),
            _ => Self::Unreachable(io::Error::other(text)),
        }
    }

    /// Describes the failure to connect to this place.
    fn describe(self, url: &BrokerUrl, place: &Place) -> String {
        const FOREIGN: &str = "the server does not speak the protocol of NATS";
        match self {
            Self::Unreachable(error) => format!("cannot connect to {place}: {error}"),
            Self::TimedOut => format!("no answer within {:?}", url.patience()),
            Self::Closed => format!("cannot connect to {place}: the server closed the connection"),
            Self::Refused { reason, .. } => reason,
            Self::Foreign(answer) => {
                let answer: String = answer.trim_end().chars().take(60).collect();
                format!("{FOREIGN}: {answer:?}")
            }
            Self::Malformed => FOREIGN.to_owned(),
        }
    }
}

/// The text of an error, as the server has sent it.
pub(crate) fn words(error: &ServerError) -> String {
    match error {
        ServerError::AuthorizationViolation => "Authorization Violation".to_owned(),
        ServerError::Other(text) => text.chars().take(SHOWN).collect(),
        other => other.to_string(),
    }
}

/// The line that the library could not parse, from the text of its error.
fn quoted_line(text: &str) -> &str {
    let line = text.strip_prefix("invalid server operation: '").and_then(|line| line.strip_suffix('\''));
    line.unwrap_or(text)
}

/// The text of the server's error, from the debug output of the library's.
fn quoted(shown: &str) -> &str {
    let text = shown.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
    text.map_or(shown.trim_end_matches(')'), |(text, _)| text)
}

/// Connects and performs the handshake. Returns the client, and the receiver of its events. `adjust`
/// changes the options in which the callers differ; see [`options`] for `again`.
pub(crate) async fn connect(
    url: &BrokerUrl,
    place: &Place,
    again: Duration,
    adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
) -> Result<(Client, UnboundedReceiver<Event>), ConnectFailure> {
    let (sender, events) = mpsc::unbounded_channel();
    let options = adjust(options(url, sender, again));
    let turns = if url.tls { GREETING_TLS } else { GREETING };
    let connecting = in_few_turns(options.connect(format!("nats://{place}")), turns);
    // In a task of its own, so that a panic of the library does not end the thread.
    let Ok(Some(connected)) = tokio::spawn(connecting).await else {
        return Err(ConnectFailure::Malformed);
    };
    let client = connected.map_err(|error| ConnectFailure::of(&error))?;
    let info = client.server_info();
    if info.headers {
        return Ok((client, events));
    }
    let version = if info.version.is_empty() { "unknown" } else { &info.version };
    let reason = format!("NATS 2.2 or later is needed, this is {version}, or its headers are turned off");
    Err(ConnectFailure::Refused { code: "version", reason })
}

/// The reason if JetStream does not answer.
pub(super) const NO_JETSTREAM: &str = "JetStream is not enabled on this NATS server, or its stream is gone";
/// The reason if the connection has ended without an error.
pub(super) const ENDED: &str = "the broker closed the connection, or what it said is not the protocol";

/// A connection after its handshake.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) events: UnboundedReceiver<Event>,
    /// Size in bytes of the largest payload that is accepted by the server.
    pub(super) longest: usize,
}

impl Link {
    /// Whether the connection has ended, even if its event did not fit the channel.
    pub(super) fn has_ended(&self) -> bool {
        self.client.connection_state() != State::Connected
    }

    /// Connects and performs the handshake; see [`options`] for `again`.
    pub(super) async fn open(url: &BrokerUrl, place: &Place, again: Duration) -> Result<Self, String> {
        let adjust = |options: ConnectOptions| {
            options
                .connection_timeout(url.patience())
                // Each request has a timeout of its own.
                .request_timeout(None)
                .subscription_capacity(BEHIND)
                .read_buffer_capacity(READ)
        };
        let (client, events) =
            connect(url, place, again, adjust).await.map_err(|failure| failure.describe(url, place))?;
        Ok(Self { longest: client.server_info().max_payload, client, events })
    }
}

/// Polls a future to its end; `None` if that takes more polls than `left`.
async fn in_few_turns<F: Future>(future: F, mut left: u32) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Interprets an event: an error means that the connection has ended; `Some` is an error of the
/// server that refuses a single command.
pub(super) fn refusal(event: Event) -> Result<Option<String>, String> {
    match event {
        Event::Disconnected | Event::Closed => Err(ENDED.to_owned()),
        Event::LameDuckMode => Err("the server is about to shut down".to_owned()),
        // Messages were dropped. The capacity of subscriptions is meant to make that impossible.
        Event::SlowConsumer(_) => Err("more came than could be taken".to_owned()),
        Event::ServerError(ServerError::Other(error)) => {
            if error.to_ascii_lowercase().starts_with("permissions violation") {
                Ok(Some(error))
            } else {
                Err(format!("the server ends the connection: {error}"))
            }
        }
        Event::ServerError(error) => Err(format!("the server ends the connection: {error}")),
        Event::ClientError(error) => Err(format!("the connection broke: {error}")),
        Event::Connected | Event::Draining => Ok(None),
    }
}
