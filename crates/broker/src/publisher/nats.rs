//! `PUB` of NATS, confirmed by the server's reaction to a marker behind the message.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout_at};

use super::call::Call;
use super::driven::settle;
use super::publish_error::PublishError;
use crate::nats::headers::{BINARY, HEADROOM};
use crate::nats::link::{self, ConnectFailure};
use crate::subject::Subjects;
use crate::url::{BrokerUrl, Place};

/// Maximum size of an answer in bytes. The longest one is INFO, with the addresses of a cluster.
const LONGEST: u64 = 1 << 20;
/// Interval at which the size of an answer is checked.
const LOOK: Duration = Duration::from_millis(50);
/// Capacity of the library's channels, which hold one or two messages at a time.
const WAITING: usize = 16;
/// Initial size of the library's read buffer in bytes.
const BUFFER: u16 = 4096;
/// Part of the server's error if the account may not publish to a subject.
const NOT_PUBLISHED: &str = "Violation for Publish to ";
/// The same for subscribing.
const NOT_SUBSCRIBED: &str = "Violation for Subscription to ";

/// A connection after its handshake.
///
/// The client library does not report the answer to a `PING`. So each message is followed by a
/// *marker*, an empty message that returns to its sender. The server handles the commands of a
/// connection in order, so it has handled the message when the marker returns. The library never
/// reconnects (see [`link::NEVER`]): a marker cannot belong to another connection.
pub(super) struct Connection {
    client: Client,
    events: UnboundedReceiver<Event>,
    subjects: Subjects,
    /// Subject of the marker. It has the prefix, and no topic has the same subject.
    marker: String,
    answered: Answered,
    /// Size in bytes of the largest payload that the server accepts.
    longest: usize,
    /// The handshake is complete. Before that, every error concerns the connection.
    greeted: bool,
    /// The server is about to shut down, or has reported an error that concerns the connection.
    leaving: bool,
}

/// The server's reaction to the marker, which depends on the permissions of the account.
enum Answered {
    /// The marker returns.
    Back(Subscriber),
    /// The account may not publish the marker. The reaction is an error that names its subject.
    NotPublished,
    /// The account may not subscribe to the marker's subject, so the marker cannot return. A further
    /// attempt to subscribe takes its place, whose reaction is an error, too.
    NotSubscribed,
}

pub(super) async fn connect(
    url: &BrokerUrl,
    place: &Place,
    call: &Call<'_>,
    prefix: &str,
) -> Result<Connection, PublishError> {
    let Some(subjects) = Subjects::new(prefix) else {
        return Err(call.refused("prefix", format!("{prefix:?} can't begin a subject")));
    };
    let connected = link::connect(url, place, link::NEVER, |options| {
        options
            .connection_timeout(call.left())
            .read_buffer_capacity(BUFFER)
            .client_capacity(WAITING)
            .subscription_capacity(WAITING)
    });
    let (client, events) = connected.await.map_err(|failure| not_connected(failure, call))?;
    let random = RandomState::new().hash_one(std::process::id());
    let marker = subjects.sync(&format!("{random:016x}"));
    let subscriber = client.subscribe(marker.clone()).await.map_err(|_| call.closed())?;
    let mut connection = Connection {
        events,
        subjects,
        marker,
        answered: Answered::Back(subscriber),
        longest: client.server_info().max_payload,
        client,
        greeted: false,
        leaving: false,
    };
    let mut refusal = None;
    let marked = connection.mark(&mut refusal).await;
    connection.greeted = true;
    match (marked, refusal) {
        (_, Some(error)) => Err(call.refused("refused", format!("NATS refuses the connection: {error}"))),
        (Ok(()), None) => Ok(connection),
        (Err(Ended), None) => Err(call.closed()),
    }
}

/// The error of a call whose connection could not be established.
fn not_connected(failure: ConnectFailure, call: &Call<'_>) -> PublishError {
    match failure {
        ConnectFailure::Unreachable(source) => call.unreachable(source),
        ConnectFailure::TimedOut => call.not_taken(),
        ConnectFailure::Closed | ConnectFailure::Malformed => call.closed(),
        ConnectFailure::Refused { code, reason } => call.refused(code, reason),
        ConnectFailure::Foreign(answer) => call.foreign(answer.as_bytes()),
    }
}

impl Connection {
    /// Publishes a message. `Some`: the server has refused it, and the connection remains usable.
    pub(super) async fn publish(
        &mut self,
        call: &Call<'_>,
        topic: &str,
        payload: &[u8],
        binary: bool,
    ) -> Result<Option<PublishError>, PublishError> {
        if !self.is_alive() {
            return Err(call.closed());
        }
        if payload.len() + HEADROOM > self.longest {
            let most = self.longest.saturating_sub(HEADROOM);
            let reason = format!("the payload has {} bytes, but the limit is {most}", payload.len());
            return Ok(Some(call.refused("too-large", reason)));
        }
        let subject = self.subjects.of(topic);
        let sizes = [subject.len() + payload.len() + usize::from(binary), self.marker.len()];
        let before = SendCounters::now(&self.client);
        let mut refusal = None;
        let exchange = self.exchange(subject, payload, binary, &mut refusal);
        let end = timeout_at(call.until.into(), exchange).await;
        match (end, refusal) {
            (Ok(Ok(())), refusal) => Ok(refusal.map(|error| call.refused("refused", error))),
            (end, refusal) => {
                let whole = SendCounters::now(&self.client).may_hold(&before, sizes);
                // An error about the message means that it was not published. An error about the
                // connection means that only if the server cannot have had the complete message.
                if let Some(error) = refusal.filter(|error| !whole || is_of_message(error)) {
                    return Err(call.refused("refused", error));
                }
                let ended = end.is_ok() || self.client.connection_state() != State::Connected;
                Err(match (whole, ended) {
                    (true, true) => call.lost(),
                    (true, false) => call.silent(),
                    (false, true) => call.closed(),
                    (false, false) => call.not_taken(),
                })
            }
        }
    }

    /// Publishes a message, and waits until the server has handled it.
    async fn exchange(
        &mut self,
        subject: String,
        payload: &[u8],
        binary: bool,
        refusal: &mut Option<String>,
    ) -> Result<(), Ended> {
        let payload = Bytes::copy_from_slice(payload);
        let published = if binary {
            let mut headers = HeaderMap::new();
            headers.insert(BINARY, "1");
            self.client.publish_with_headers(subject, headers, payload).await
        } else {
            self.client.publish(subject, payload).await
        };
        published.map_err(|_| Ended)?;
        self.mark(refusal).await
    }

    /// Sends the marker and waits for the reaction. Stores an error that comes before it in
    /// `refusal`.
    async fn mark(&mut self, refusal: &mut Option<String>) -> Result<(), Ended> {
        let subject = self.marker.clone();
        if let Answered::NotSubscribed = self.answered {
            self.client.subscribe(subject).await.map_err(|_| Ended)?;
        } else {
            self.client.publish(subject, Bytes::new()).await.map_err(|_| Ended)?;
        }
        let statistics = self.client.statistics();
        let most = statistics.in_bytes.load(Ordering::Relaxed) + LONGEST;
        loop {
            let back = async {
                match &mut self.answered {
                    Answered::Back(subscriber) => subscriber.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                // If the marker has returned, the end of the connection behind it does not matter.
                biased;
                marker = back => {
                    marker.ok_or(Ended)?;
                    // Errors that preceded the marker reach this task through another one.
                    settle().await;
                    while let Ok(event) = self.events.try_recv() {
                        self.leaving |= self.answers(event, refusal).is_err();
                    }
                    // The server has handled the message. Its other errors came behind the marker,
                    // and concern the connection.
                    refusal.take_if(|error| !is_of_message(error));
                    return Ok(());
                }
                event = self.events.recv() => {
                    if self.answers(event.ok_or(Ended)?, refusal)? {
                        return Ok(());
                    }
                }
                () = sleep(LOOK) => if statistics.in_bytes.load(Ordering::Relaxed) > most {
                    return Err(Ended);
                },
            }
        }
    }

    /// Handles an event. Returns whether it is the reaction to the marker.
    fn answers(&mut self, event: Event, refusal: &mut Option<String>) -> Result<bool, Ended> {
        match event {
            Event::ServerError(error) => {
                let error = link::words(&error);
                if !error.contains(&format!("\"{}\"", self.marker)) {
                    self.leaving |= !is_of_message(&error);
                    if !refusal.as_deref().is_some_and(is_of_message) {
                        *refusal = Some(error);
                    }
                    return if self.greeted { Ok(false) } else { Err(Ended) };
                }
                match self.answered {
                    // There is an error for publishing to the subject, too; it is not the reaction.
                    Answered::NotSubscribed => return Ok(error.contains(NOT_SUBSCRIBED)),
                    _ if error.contains(NOT_SUBSCRIBED) => self.answered = Answered::NotSubscribed,
                    _ => self.answered = Answered::NotPublished,
                }
                Ok(true)
            }
            Event::LameDuckMode => {
                self.leaving = true;
                Ok(false)
            }
            Event::Disconnected | Event::Closed | Event::ClientError(_) => Err(Ended),
            _ => Ok(false),
        }
    }

    /// Whether nothing has arrived since the last call that ends the connection.
    fn is_alive(&mut self) -> bool {
        let mut error = None;
        while let Ok(event) = self.events.try_recv() {
            self.leaving |= self.answers(event, &mut error).is_err();
        }
        !self.leaving && error.is_none() && self.client.connection_state() == State::Connected
    }
}

/// The client library's counters of sent messages and bytes.
struct SendCounters {
    messages: u64,
    bytes: u64,
}

impl SendCounters {
    fn now(client: &Client) -> Self {
        let statistics = client.statistics();
        Self {
            messages: statistics.out_messages.load(Ordering::Relaxed),
            bytes: statistics.out_bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether the first of these messages may have been sent completely since `before`. `sizes` are
    /// those of subject, payload and headers. The library counts them when it accepts a message, and
    /// counts each byte that the socket accepts, protocol overhead included.
    fn may_hold(&self, before: &Self, sizes: [usize; 2]) -> bool {
        let taken_up = usize::try_from(self.messages - before.messages).unwrap_or(usize::MAX);
        let counted: usize = sizes.iter().take(taken_up).sum();
        let bytes = self.bytes - before.bytes;
        taken_up > 0 && bytes >= (counted + sizes[0]) as u64
    }
}

/// Whether an error that does not name the marker concerns a message.
fn is_of_message(error: &str) -> bool {
    error.contains(NOT_PUBLISHED) || error.contains("Payload Violation") || error.contains("Publish Subject")
}

/// The connection has ended.
#[derive(Debug)]
struct Ended;
