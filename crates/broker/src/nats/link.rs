//! A connection of the crate `async-nats`.

use async_nats::connection::State;
use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerError,
};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::url::{BrokerUrl, Credentials, Place};

/// Messages that a subscription may be behind: more than one turn of the library can read, which is
/// 128 times 64 KiB.
const BEHIND: usize = 1 << 20;
/// One read of the library, if no larger message is under way: it makes messages of all that one turn
/// reads before anybody takes them.
const READ: u16 = 16 << 10;
/// Turns of the library for its greeting, each of which reads what the socket holds at that moment:
/// looking up the name, connecting, TLS, and two lines of the server. A server whose first line does
/// not end would have all memory otherwise. Without TLS half a dozen are usual; in each at most as much
/// is read as the kernel holds for a socket, which is 2 MiB mostly, and 6 MiB at the worst.
const GREETING: u32 = 14;
/// The same with TLS.
const GREETING_TLS: u32 = 24;
/// As good as never.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Where a server is, for the library. NATS has no Unix sockets.
pub(crate) fn address(place: &Place) -> Option<String> {
    match place {
        Place::Tcp { host, port } if host.contains(':') => Some(format!("nats://[{host}]:{port}")),
        Place::Tcp { host, port } => Some(format!("nats://{host}:{port}")),
        Place::Unix(_) => None,
    }
}

/// What the library has to say goes to `events`. It connects again `again` after the connection has
/// ended; or [never](NEVER), where what had been sent on the first would be forgotten, or sent once
/// more. Then its tasks wait until their runtime ends.
pub(crate) fn options(url: &BrokerUrl, events: UnboundedSender<Event>, again: Duration) -> ConnectOptions {
    let first = AtomicBool::new(true);
    let mut options = ConnectOptions::new()
        .name("sprocket")
        .ignore_discovered_servers()
        .require_tls(url.tls)
        // Whoever needs a sign of life asks for it.
        .ping_interval(NEVER)
        // This is also asked before the first connection, and then, unlike the default, waits for
        // no timer.
        .reconnect_to_server_callback(move |servers, _| {
            let delay = if first.swap(false, Ordering::Relaxed) { Duration::ZERO } else { again };
            let server = servers.into_iter().next();
            std::future::ready(
                server.map(|server| ReconnectToServer { addr: server.addr, delay: Some(delay) }),
            )
        })
        .event_callback(move |event| {
            // Nobody listens any more: then nobody waits.
            let _ = events.send(event);
            std::future::ready(())
        });
    // The files are read at each connection, so that a renewed certificate needs no restart.
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

/// That a server is young enough, or what is missing.
pub(crate) fn check(client: &Client) -> Result<(), String> {
    let info = client.server_info();
    if info.headers {
        return Ok(());
    }
    let version = if info.version.is_empty() { "unknown" } else { &info.version };
    Err(format!("NATS 2.2 or later is needed, this is {version}, or its headers are turned off"))
}

/// Nobody answers what is asked of JetStream.
pub(super) const NO_JETSTREAM: &str = "JetStream is not enabled on this NATS server, or its stream is gone";
/// Nothing comes any more.
pub(super) const ENDED: &str = "the broker closed the connection, or what it said is not the protocol";

/// Greeted.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) events: UnboundedReceiver<Event>,
    /// Bytes of a payload that the server takes.
    pub(super) longest: usize,
}

impl Link {
    /// Whether the connection has ended, also if there was no room for the event.
    pub(super) fn has_ended(&self) -> bool {
        self.client.connection_state() != State::Connected
    }

    /// Connects and introduces itself; see [`options`] for `again`.
    pub(super) async fn open(url: &BrokerUrl, place: &Place, again: Duration) -> Result<Self, String> {
        let address = address(place).ok_or("NATS has no Unix sockets")?;
        let (told, events) = mpsc::unbounded_channel();
        let options = options(url, told, again)
            .connection_timeout(url.patience())
            // Whoever asks has a time limit of his own.
            .request_timeout(None)
            .subscription_capacity(BEHIND)
            .read_buffer_capacity(READ);
        let turns = if url.tls { GREETING_TLS } else { GREETING };
        // As a task, so that a server whose nonsense makes the library panic ends nothing else.
        let connected = tokio::spawn(in_few_turns(options.connect(address.clone()), turns)).await;
        let foreign = "the server does not speak the protocol of NATS";
        let connected = connected.map_err(|_| foreign.to_owned())?.ok_or(foreign)?;
        let client = connected.map_err(|error| refused(&error, url, &address))?;
        check(&client)?;
        Ok(Self { longest: client.server_info().max_payload, client, events })
    }
}

/// The outcome of a future, unless it is polled too often before.
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

/// Why there is no connection.
fn refused(error: &ConnectError, url: &BrokerUrl, place: &str) -> String {
    let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "NATS refuses the connection: Authorization Violation".to_owned()
        }
        ConnectErrorKind::Tls => format!("TLS with {url} failed: {cause}"),
        ConnectErrorKind::TimedOut => format!("no answer within {:?}", url.patience()),
        _ => match cause.strip_prefix("invalid server operation: ") {
            Some(answer) => {
                let answer: String = answer.trim_matches(['\'', '\r', '\n']).chars().take(60).collect();
                format!("the server does not speak the protocol of NATS: {answer:?}")
            }
            None => format!("cannot connect to {place}: {cause}"),
        },
    }
}

/// What an event says of the connection: it is over; or the server refuses something, in its words.
pub(super) fn refusal(event: Event) -> Result<Option<String>, String> {
    match event {
        Event::Disconnected | Event::Closed => Err(ENDED.to_owned()),
        Event::LameDuckMode => Err("the server is about to shut down".to_owned()),
        // It should be impossible, and means that messages were dropped.
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
