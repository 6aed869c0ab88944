//! A connection by the crate `async-nats`.

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
/// Effectively never.
pub(crate) const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The address of a server, for the library; `None` for a Unix socket, which NATS does not have.
pub(crate) fn address(place: &Place) -> Option<String> {
    match place {
        Place::Tcp { host, port } if host.contains(':') => Some(format!("nats://[{host}]:{port}")),
        Place::Tcp { host, port } => Some(format!("nats://{host}:{port}")),
        Place::Unix(_) => None,
    }
}

/// Options for the library. Its events go to `events`. After the connection has ended, it reconnects
/// when `again` has passed. With [`NEVER`] its tasks wait until their runtime ends: a new connection
/// would lose or repeat what was sent on the first one.
pub(crate) fn options(url: &BrokerUrl, events: UnboundedSender<Event>, again: Duration) -> ConnectOptions {
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

/// Checks that the server is recent enough.
pub(crate) fn check(client: &Client) -> Result<(), String> {
    let info = client.server_info();
    if info.headers {
        return Ok(());
    }
    let version = if info.version.is_empty() { "unknown" } else { &info.version };
    Err(format!("NATS 2.2 or later is needed, this is {version}, or its headers are turned off"))
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
        let address = address(place).ok_or("NATS has no Unix sockets")?;
        let (told, events) = mpsc::unbounded_channel();
        let options = options(url, told, again)
            .connection_timeout(url.patience())
            // Each request has a timeout of its own.
            .request_timeout(None)
            .subscription_capacity(BEHIND)
            .read_buffer_capacity(READ);
        let turns = if url.tls { GREETING_TLS } else { GREETING };
        // In a task of its own, so that a panic of the library does not end the thread.
        let connected = tokio::spawn(in_few_turns(options.connect(address.clone()), turns)).await;
        let foreign = "the server does not speak the protocol of NATS";
        let connected = connected.map_err(|_| foreign.to_owned())?.ok_or(foreign)?;
        let client = connected.map_err(|error| refused(&error, url, &address))?;
        check(&client)?;
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

/// Describes why the connection could not be established.
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
