//! `PUB` of NATS, confirmed by what the server does with a marker behind it.

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
use super::error::PublishError;
use super::nats_connect;
use crate::nats_headers::{BINARY, HEADROOM};
use crate::{BrokerUrl, Place, Subjects, nats_link};

/// Bytes of an answer; the longest is INFO, with the addresses of a cluster.
const LONGEST: u64 = 1 << 20;
/// How often it is looked whether an answer is longer than that.
const LOOK: Duration = Duration::from_millis(50);
/// What a server says of a subject that an account may not publish to.
const NOT_PUBLISHED: &str = "Violation for Publish to ";
/// And of one that it may not subscribe to.
const NOT_SUBSCRIBED: &str = "Violation for Subscription to ";

/// A connection that was greeted.
///
/// The client library tells nobody that a server has answered its `PING`. So behind a message goes
/// a marker, an empty message that comes back to us. The server deals in order with what comes on
/// one connection, so that it has dealt with the message then. The library never connects a second
/// time (see [`nats_connect`]): a marker can't speak for another connection.
pub(super) struct Connection {
    client: Client,
    events: UnboundedReceiver<Event>,
    subjects: Subjects,
    /// The marker's subject: below the prefix, and like no topic.
    marker: String,
    answered: Answered,
    /// Bytes of a payload that are taken.
    longest: usize,
    /// Until then every error is one of the connection.
    greeted: bool,
    /// The server wants to be left, or has said that something is wrong.
    leaving: bool,
}

/// What the marker is answered by, which depends on what the account may do.
enum Answered {
    /// It comes back.
    Back(Subscriber),
    /// It must not be published, which is an error that names it.
    NotPublished,
    /// It must not be subscribed to, and so can't come back. To subscribe to it again is the marker.
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
    let (client, events) = nats_connect::connect(url, place, call).await?;
    nats_link::check(&client).map_err(|reason| call.refused("version", reason))?;
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

impl Connection {
    /// `Some`: it was refused, and the connection is good for more.
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
            let reason = format!("the payload has {} bytes, {most} are allowed", payload.len());
            return Ok(Some(call.refused("too-large", reason)));
        }
        let subject = self.subjects.of(topic);
        let sizes = [subject.len() + payload.len() + usize::from(binary), self.marker.len()];
        let before = Sent::now(&self.client);
        let mut refusal = None;
        let exchange = self.exchange(subject, payload, binary, &mut refusal);
        let end = timeout_at(call.until.into(), exchange).await;
        match (end, refusal) {
            (Ok(Ok(())), refusal) => Ok(refusal.map(|error| call.refused("refused", error))),
            (end, refusal) => {
                let whole = Sent::now(&self.client).may_hold(&before, sizes);
                // Such an error means that it was not published. One about the connection doesn't,
                // unless the server can't have had the message.
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

    /// Publishes, and waits until the server has dealt with it.
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

    /// Sends the marker, and waits for its answer. `refusal` gets what went wrong before it.
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
                // With an end behind it, it has still come back.
                biased;
                marker = back => {
                    marker.ok_or(Ended)?;
                    // Errors that came before it are on their way through another task.
                    settle().await;
                    while let Ok(event) = self.events.try_recv() {
                        self.leaving |= self.answers(event, refusal).is_err();
                    }
                    // The server has gone on after the message. What else it says of it or not,
                    // it has said behind the marker, and about the connection.
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

    /// Whether it is what the marker was sent for.
    fn answers(&mut self, event: Event, refusal: &mut Option<String>) -> Result<bool, Ended> {
        match event {
            Event::ServerError(error) => {
                let error = nats_connect::words(&error);
                if !error.contains(&format!("\"{}\"", self.marker)) {
                    self.leaving |= !is_of_message(&error);
                    if !refusal.as_deref().is_some_and(is_of_message) {
                        *refusal = Some(error);
                    }
                    return if self.greeted { Ok(false) } else { Err(Ended) };
                }
                match self.answered {
                    // Its publication may have been refused as well.
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

    /// Nothing has come since the last time that ends it.
    fn is_alive(&mut self) -> bool {
        let mut error = None;
        while let Ok(event) = self.events.try_recv() {
            self.leaving |= self.answers(event, &mut error).is_err();
        }
        !self.leaving && error.is_none() && self.client.connection_state() == State::Connected
    }
}

/// What the client library counts of what it sends.
struct Sent {
    messages: u64,
    bytes: u64,
}

impl Sent {
    fn now(client: &Client) -> Self {
        let statistics = client.statistics();
        Self {
            messages: statistics.out_messages.load(Ordering::Relaxed),
            bytes: statistics.out_bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether the first of these messages may have been sent whole after `before`. Their sizes are
    /// of subject, payload and headers, as the library counts them: once when it takes a message
    /// up, and then each byte that the connection takes, with all around them.
    fn may_hold(&self, before: &Self, sizes: [usize; 2]) -> bool {
        let taken_up = usize::try_from(self.messages - before.messages).unwrap_or(usize::MAX);
        let counted: usize = sizes.iter().take(taken_up).sum();
        let bytes = self.bytes - before.bytes;
        taken_up > 0 && bytes >= (counted + sizes[0]) as u64
    }
}

/// Whether an error, that is not of the marker, is of a message: of nothing else that we do.
fn is_of_message(error: &str) -> bool {
    error.contains(NOT_PUBLISHED) || error.contains("Payload Violation") || error.contains("Publish Subject")
}

/// The connection has.
#[derive(Debug)]
struct Ended;
