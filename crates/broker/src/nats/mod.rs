//! The driver for NATS: core publish/subscribe, and JetStream for topics with history.
//!
//! | what | where |
//! |---|---|
//! | a topic | subject PREFIX + `.` + topic |
//! | messages for every connection | subject PREFIX + `.%all` |
//! | control messages between nodes | subject PREFIX + `.%nodes` |
//! | sync messages of a node to itself | subject PREFIX + `.%sync.` + number of the node |
//! | history | subject PREFIX + `-history.` + limits + `.` + topic, in a stream for these limits |
//!
//! Headers carry the information that nodes exchange beside the payload.
//!
//! NATS does not confirm publications. The driver therefore sends a *sync message* to itself behind
//! them: when it comes back, the server has processed everything that was sent before it.

pub(crate) mod headers;
mod jetstream;
pub(crate) mod link;
mod merge;
mod outbox;
mod reader;
mod store;

use async_nats::message::OutboundMessage;
use async_nats::{HeaderName, Message, Subscriber};
use bytes::Bytes;
use futures_util::sink::SinkExt;
use futures_util::stream::{AbortHandle, Abortable, SelectAll, Stream, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

use super::driver::{BATCH, Driver, Incoming, SendResult};
use super::envelope::Body;
use super::gauge::Useless;
use super::queue::{Item, Target};
use super::subject::Subjects;
use super::url::{BrokerUrl, Place};
use headers::{BINARY, EPOCH, HEADROOM, LAST_SEQUENCE, NODE, NUMBER, SEQUENCE, STREAM, is_binary};
use jetstream::HistoryStream;
use link::{Link, refusal};
use merge::SubscriptionMerger;
use outbox::{Outbox, Outgoing, SubscriptionKind};
use store::Store;

pub(super) use reader::Reader;

/// Connects and performs the handshake.
pub(super) async fn open(
    url: &BrokerUrl,
    place: &Place,
    prefix: &str,
    node: u64,
    largest: usize,
) -> Result<Box<dyn Driver>, String> {
    let subjects = Subjects::new(prefix).ok_or("the prefix can't begin a subject")?;
    let mut link = Link::open(url, place, link::NEVER).await?;
    link.longest = link.longest.min(largest + HEADROOM);
    Ok(Box::new(Nats::new(subjects, format!("{node:016x}"), link)))
}

/// Maximum number of commands that are sent and not known to be processed. The server may refuse
/// each of them, and the library drops refusals beyond the 128 for which it has room.
const UNDER_WAY: usize = 100;
/// Maximum number of commands in front of a sync message.
const TOGETHER: usize = UNDER_WAY / 2;

/// A sync message that has not come back yet.
#[derive(Debug)]
struct Sync {
    number: u64,
    /// Number of commands between it and the sync message before it.
    commands: usize,
    /// Number of the last publication before it.
    sent: u64,
    /// Whether its return answers a ping of the session.
    ping: bool,
}

/// A subscription that exists in the library: a stream of its number, kind, and messages.
struct SubscriptionStream {
    number: u64,
    kind: SubscriptionKind,
    subscriber: Subscriber,
}

impl Stream for SubscriptionStream {
    type Item = (u64, SubscriptionKind, Message);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = self.subscriber.poll_next_unpin(cx);
        message.map(|message| message.map(|message| (self.number, self.kind.clone(), message)))
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<(), String>>>>;

struct Nats {
    subjects: Subjects,
    /// Number of this node, as in the header.
    node: String,
    link: Link,
    /// Subject of sync messages.
    sync: String,
    outbox: Outbox,
    /// Set if the session has requested a ping: the number of commands in the outbox that the ping
    /// follows.
    ping: Option<usize>,
    /// A batch of commands on its way to the library.
    sending: Option<Sending>,
    /// Number of commands that were sent and are not known to be processed.
    under_way: usize,
    /// New subscriptions, from `sending` to `subscriptions`.
    made: mpsc::UnboundedSender<Abortable<SubscriptionStream>>,
    fresh: mpsc::UnboundedReceiver<Abortable<SubscriptionStream>>,
    subscriptions: SelectAll<Abortable<SubscriptionStream>>,
    /// Received items that the session has not taken yet.
    incoming: VecDeque<Incoming>,
    /// Handles that end the subscriptions of topics and patterns.
    names: HashMap<Arc<str>, AbortHandle>,
    /// Sync messages that have not come back yet, oldest first.
    syncs: VecDeque<Sync>,
    /// The last number given to a subscription or sync message.
    last: u64,
    /// Number of the last publication that was sent.
    sent: u64,
    store: Store,
    useless: Useless,
}

impl Nats {
    fn new(subjects: Subjects, node: String, link: Link) -> Self {
        let longest = link.longest;
        let (made, fresh) = mpsc::unbounded_channel();
        Self {
            sync: subjects.sync(&node),
            store: Store::new(node.clone(), link.client.new_inbox()),
            subjects,
            node,
            link,
            outbox: Outbox::default(),
            ping: None,
            sending: None,
            under_way: 0,
            made,
            fresh,
            subscriptions: SelectAll::new(),
            incoming: VecDeque::new(),
            names: HashMap::new(),
            syncs: VecDeque::new(),
            last: 0,
            sent: 0,
            useless: Useless::new(longest),
        }
    }

    /// Begins to send the next commands, one after the other, and a sync message behind them. `None`
    /// if there is nothing to send, or too much is under way.
    fn send(&mut self) -> Option<Sending> {
        let commands = self.outbox.len().min(TOGETHER);
        if self.under_way + commands > UNDER_WAY || commands == 0 && self.ping.is_none() {
            return None;
        }
        self.under_way += commands;
        let batch = self.outbox.take(commands);
        for command in &batch {
            if let Outgoing::Publish(_, number @ 1..) = command {
                self.sent = *number;
            }
        }
        self.last += 1;
        let ping = self.ping.take_if(|behind| *behind <= commands).is_some();
        if let Some(behind) = &mut self.ping {
            *behind -= commands;
        }
        self.syncs.push_back(Sync { number: self.last, commands, sent: self.sent, ping });
        let (subject, payload) = (self.sync.as_str().into(), self.last.to_string().into());
        let sync = OutboundMessage { subject, reply: None, payload, headers: None };
        let first = self.last;
        self.last += commands as u64;
        let (mut client, made) = (self.link.client.clone(), self.made.clone());
        Some(Box::pin(async move {
            for (number, command) in (first..).zip(batch) {
                match command {
                    Outgoing::Subscribe(kind, subject, registration) => {
                        let subscriber = client.subscribe(subject).await;
                        let subscriber = subscriber.map_err(|error| format!("cannot subscribe: {error}"))?;
                        // Registered at once, because its first message may arrive in the next turn of
                        // the library.
                        let subscription = SubscriptionStream { number, kind, subscriber };
                        let _ = made.send(Abortable::new(subscription, registration));
                    }
                    Outgoing::Publish(message, _) => {
                        client.feed(message).await.map_err(|error| format!("cannot publish: {error}"))?;
                    }
                }
            }
            client.feed(sync).await.map_err(|error| format!("cannot publish: {error}"))
        }))
    }

    /// Takes everything that the library has received.
    fn receive(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(subscription)) = self.fresh.poll_recv(cx) {
            self.subscriptions.push(subscription);
        }
        let mut merger = SubscriptionMerger::default();
        while let Poll::Ready(Some((number, kind, message))) = self.subscriptions.poll_next_unpin(cx) {
            merger.push(number, self.message(kind, message));
        }
        merger.merge(&mut self.incoming);
    }

    fn message(&mut self, kind: SubscriptionKind, message: Message) -> Incoming {
        match kind {
            SubscriptionKind::Everybody => Incoming::Broadcast(self.body(message)),
            SubscriptionKind::Nodes => Incoming::Control(self.body(message)),
            SubscriptionKind::Answers => self.store.answered(&message, &mut self.outbox),
            SubscriptionKind::Sync => {
                let number =
                    std::str::from_utf8(&message.payload).ok().and_then(|number| number.parse().ok());
                // Another number means that somebody else has published to the subject.
                if self.syncs.front().map(|sync| sync.number) != number {
                    return Incoming::Nothing;
                }
                let Some(sync) = self.syncs.pop_front() else { return Incoming::Nothing };
                self.under_way -= sync.commands;
                if sync.sent > 0 {
                    self.incoming.push_back(Incoming::ConfirmedUpTo(sync.sent));
                }
                if sync.ping { Incoming::Alive } else { Incoming::Nothing }
            }
            SubscriptionKind::Name(via) => {
                let subject = message.subject.as_str();
                let topic = self.subjects.topic(subject);
                if self.subjects.is_ours(subject) {
                    return Incoming::Nothing;
                }
                Incoming::Message { via, topic, body: self.body(message) }
            }
        }
    }

    fn body(&self, message: Message) -> Body {
        // A copy, so that a small message does not keep alive the buffer that it was read with.
        let payload = Bytes::copy_from_slice(&message.payload);
        let Some(headers) = message.headers else {
            return Body { payload, ..Body::default() }.checked();
        };
        let number = |name: HeaderName, radix: u32| {
            headers.get(name).and_then(|value| u64::from_str_radix(value.as_str(), radix).ok())
        };
        let epoch = || number(EPOCH, 10).or_else(|| self.store.epoch(headers.get(STREAM)?.as_str()));
        let place = number(SEQUENCE, 10).and_then(|sequence| Some((epoch()?, sequence)));
        Body {
            node: number(NODE, 16).unwrap_or(0),
            number: number(NUMBER, 10).unwrap_or(0),
            binary: is_binary(&headers),
            position: place.map(|(epoch, sequence)| format!("{epoch}-{sequence}")),
            previous: place.and_then(|(epoch, _)| Some(format!("{epoch}-{}", number(LAST_SEQUENCE, 10)?))),
            payload,
        }
        .checked()
    }

    /// Handles an error of the server that refuses a single command. Returns an error if the node
    /// cannot work without that command.
    fn refused(&mut self, error: &str) -> Result<Incoming, String> {
        let subject = error.split('"').nth(1).unwrap_or_default();
        if subject == self.sync {
            // Without sync messages nothing is ever confirmed.
            return Err(format!("NATS denies what a node requires: {error}"));
        }
        let reason = format!("NATS refuses it: {error}");
        if error.contains("Publish")
            && let Some(number) = self.store.refused(subject)
        {
            return Ok(Incoming::Refused { number, reason, uncertain: false });
        }
        if subject.starts_with("$JS.API.") {
            self.store.fail_requests(error);
        }
        let topic = self.subjects.topic(subject).unwrap_or_default();
        Ok(Incoming::Loss { topic, reason })
    }
}

impl Driver for Nats {
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, String>> {
        loop {
            if let Some(incoming) = self.incoming.pop_front() {
                self.useless.begin(self.received());
                return Poll::Ready(Ok(incoming));
            }
            self.useless.check(self.received())?;
            if self.sending.is_none() {
                self.sending = self.send();
            }
            if let Some(sending) = &mut self.sending
                && let Poll::Ready(sent) = sending.as_mut().poll(cx)
            {
                self.sending = None;
                sent?;
                continue;
            }
            self.receive(cx);
            if !self.incoming.is_empty() {
                continue;
            }
            // Messages that arrived before the end of the connection come before it.
            match self.link.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    if let Some(error) = refusal(event)? {
                        return Poll::Ready(self.refused(&error));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(Err("the connection was lost".to_owned())),
                Poll::Pending if self.link.has_ended() => return Poll::Ready(Err(link::ENDED.to_owned())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn received(&self) -> u64 {
        self.link.client.statistics().in_bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.outbox.bytes() < BATCH
    }

    fn start(&mut self) {
        self.outbox.subscribe(SubscriptionKind::Everybody, self.subjects.everybody());
        self.outbox.subscribe(SubscriptionKind::Nodes, self.subjects.nodes());
        self.outbox.subscribe(SubscriptionKind::Sync, self.sync.clone());
    }

    fn subscribe(&mut self, name: &Arc<str>) {
        let kind = SubscriptionKind::Name(name.clone());
        let subscription = self.outbox.subscribe(kind, self.subjects.of(name));
        self.names.insert(name.clone(), subscription);
    }

    fn unsubscribe(&mut self, name: &Arc<str>) {
        if let Some(subscription) = self.names.remove(name) {
            subscription.abort();
        }
    }

    fn publish(&mut self, item: &Item) -> SendResult {
        let size = item.payload.len();
        if size + HEADROOM > self.link.longest {
            let most = self.link.longest.saturating_sub(HEADROOM);
            return SendResult::Refused(format!(
                "the payload has {size} bytes, but this NATS server accepts at most {most}"
            ));
        }
        let subject = match (&item.target, &item.history) {
            (Target::Topic(topic), Some(limits)) => {
                let stream = HistoryStream::new(&self.subjects, limits);
                return self.store.publish(stream, topic, item, &mut self.outbox);
            }
            (Target::Topic(topic), None) => self.subjects.of(topic),
            (Target::Everybody, _) => self.subjects.everybody(),
        };
        let number = item.number.to_string();
        let mut headers = vec![(NODE, self.node.as_str()), (NUMBER, &number)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        self.outbox.publish(subject, None, &headers, item.payload.clone(), item.number);
        SendResult::Sent
    }

    fn control(&mut self, payload: &[u8]) {
        if payload.len() + HEADROOM <= self.link.longest {
            let headers = [(NODE, self.node.as_str()), (BINARY, "1")];
            let payload = Bytes::copy_from_slice(payload);
            self.outbox.publish(self.subjects.nodes(), None, &headers, payload, 0);
        }
    }

    fn ping(&mut self) {
        self.ping = Some(self.outbox.len());
    }

    fn retry_window(&self, item: &Item) -> Option<Duration> {
        let limits = item.history.as_ref()?;
        // A margin, because JetStream may have stored the first attempt somewhat later.
        Some(jetstream::window(limits.seconds.unwrap_or_default()).mul_f64(0.8))
    }
}
