//! NATS: core publish/subscribe, and JetStream for topics with history.
//!
//! | what | where |
//! |---|---|
//! | a topic | subject PREFIX + `.` + topic |
//! | messages for everybody | subject PREFIX + `.%all` |
//! | nodes among themselves | subject PREFIX + `.%nodes` |
//! | a node to itself, to know how far the server is | subject PREFIX + `.%sync.` + its number |
//! | history | subject PREFIX + `-history.` + limits + `.` + topic, into a stream for these limits |
//!
//! What nodes tell each other beside the payload is in headers.

mod jetstream;
pub(crate) mod link;
mod order;
mod reader;
mod store;
pub(crate) mod subject;

use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, HeaderName, Message, Subscriber};
use bytes::Bytes;
use futures_util::sink::SinkExt;
use futures_util::stream::{AbortHandle, AbortRegistration, Abortable, SelectAll, Stream, StreamExt};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

use super::envelope::Body;
use super::gauge::Useless;
use super::queue::{Item, Target};
use super::url::{BrokerUrl, Place};
use super::wire::{BATCH, Heard, Put, Wire};
use jetstream::Stream as Log;
use link::{Link, refusal};
use store::Known;
use subject::Subjects;

pub(super) use reader::Reader;

/// The node that has sent a message, 16 hexadecimal digits.
const NODE: HeaderName = HeaderName::from_static("Sprocket-Node");
/// Its place among the publications of that node.
const NUMBER: HeaderName = HeaderName::from_static("Sprocket-Number");
/// `1`: not text.
const BINARY: HeaderName = HeaderName::from_static(BINARY_NAME);
pub(crate) const BINARY_NAME: &str = "Sprocket-Binary";
/// That of the stream, as the node knew it.
const EPOCH: HeaderName = HeaderName::from_static("Sprocket-Epoch");
/// What JetStream says and wants to know.
const STREAM: HeaderName = HeaderName::from_static("Nats-Stream");
const SEQUENCE: HeaderName = HeaderName::from_static("Nats-Sequence");
const LAST_SEQUENCE: HeaderName = HeaderName::from_static("Nats-Last-Sequence");
const MESSAGE_ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");

/// Bytes that a message with headers has at most beside its payload, counted in its size.
const HEADROOM: usize = 256;

/// Connects and introduces itself.
pub(super) async fn open(
    url: &BrokerUrl,
    place: &Place,
    prefix: &str,
    node: u64,
    largest: usize,
) -> Result<Box<dyn Wire>, String> {
    let subjects = Subjects::new(prefix).ok_or("the prefix can't begin a subject")?;
    let mut link = Link::open(url, place, link::NEVER).await?;
    link.longest = link.longest.min(largest + HEADROOM);
    Ok(Box::new(Nats::new(subjects, format!("{node:016x}"), link)))
}

/// Words that may be under way without our knowing that the server has dealt with them. Each may be
/// refused, and the library drops what it can't tell: it has room for 128 refusals.
const UNDER_WAY: usize = 100;
/// Words behind which we say something to ourselves.
const TOGETHER: usize = UNDER_WAY / 2;

/// What we said to ourselves: when it comes back, the server has dealt with what was sent before.
#[derive(Debug)]
struct Sync {
    number: u64,
    /// Words before it, since the one before it.
    words: usize,
    /// The last publication before it.
    sent: u64,
    /// A sign of life was asked for.
    asked: bool,
}

/// A subscription.
#[derive(Debug, Clone)]
enum Via {
    Everybody,
    Nodes,
    Answers,
    Sync,
    Name(Arc<str>),
}

/// What a subscription hears.
struct Ear {
    number: u64,
    via: Via,
    subscriber: Subscriber,
}

impl Stream for Ear {
    /// With the number of the subscription.
    type Item = (u64, Via, Message);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = self.subscriber.poll_next_unpin(cx);
        message.map(|message| message.map(|message| (self.number, self.via.clone(), message)))
    }
}

/// What waits to be sent.
enum Word {
    /// Until it is aborted.
    Subscribe(Via, String, AbortRegistration),
    /// The number of a publication that is not stored, or 0.
    Say(OutboundMessage, u64),
}

impl Word {
    /// About as many bytes.
    fn size(&self) -> usize {
        HEADROOM
            + match self {
                Self::Subscribe(_, subject, _) => subject.len(),
                Self::Say(message, _) => message.payload.len(),
            }
    }
}

type Sending = Pin<Box<dyn Future<Output = Result<(), String>>>>;

struct Nats {
    subjects: Subjects,
    node: String,
    link: Link,
    /// Where what we say to ourselves comes back.
    sync: String,
    /// Where answers of JetStream come in.
    inbox: String,
    listening: bool,
    next: VecDeque<Word>,
    /// About as many bytes.
    waiting: usize,
    /// A sign of life is asked for, behind so many of these words.
    asked: Option<usize>,
    sending: Option<Sending>,
    /// Words that were sent and are not known to have been dealt with.
    under_way: usize,
    /// Subscriptions that have been made, on their way to `ears`.
    made: mpsc::UnboundedSender<Abortable<Ear>>,
    fresh: mpsc::UnboundedReceiver<Abortable<Ear>>,
    ears: SelectAll<Abortable<Ear>>,
    heard: VecDeque<Heard>,
    names: HashMap<Arc<str>, AbortHandle>,
    syncs: VecDeque<Sync>,
    /// Of subscriptions and syncs.
    last: u64,
    /// The last publication that was sent.
    sent: u64,
    /// By name.
    streams: HashMap<String, (Log, Known)>,
    /// Publications that JetStream has not answered, by subject, in order; and their subjects.
    stored: HashMap<String, VecDeque<u64>>,
    storing: HashMap<u64, String>,
    useless: Useless,
}

impl Nats {
    fn new(subjects: Subjects, node: String, link: Link) -> Self {
        let longest = link.longest;
        let (made, fresh) = mpsc::unbounded_channel();
        Self {
            sync: subjects.sync(&node),
            inbox: link.client.new_inbox(),
            subjects,
            node,
            link,
            listening: false,
            next: VecDeque::new(),
            waiting: 0,
            asked: None,
            sending: None,
            under_way: 0,
            made,
            fresh,
            ears: SelectAll::new(),
            heard: VecDeque::new(),
            names: HashMap::new(),
            syncs: VecDeque::new(),
            last: 0,
            sent: 0,
            streams: HashMap::new(),
            stored: HashMap::new(),
            storing: HashMap::new(),
            useless: Useless::new(longest),
        }
    }

    fn sub(&mut self, via: Via, subject: String) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        self.push(Word::Subscribe(via, subject, registration));
        handle
    }

    fn push(&mut self, word: Word) {
        self.waiting += word.size();
        self.next.push_back(word);
    }

    fn say(
        &mut self,
        subject: String,
        reply: Option<String>,
        headers: &[(HeaderName, &str)],
        payload: Bytes,
        number: u64,
    ) {
        let headers = (!headers.is_empty()).then(|| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(name.clone(), *value);
            }
            map
        });
        let (subject, reply) = (subject.into(), reply.map(Into::into));
        self.push(Word::Say(OutboundMessage { subject, reply, payload, headers }, number));
    }

    /// Sends what waits, one word after the other, as far as they may be under way, and something to
    /// ourselves behind them.
    fn send(&mut self) -> Option<Sending> {
        let words = self.next.len().min(TOGETHER);
        if self.under_way + words > UNDER_WAY || words == 0 && self.asked.is_none() {
            return None;
        }
        self.under_way += words;
        let batch: Vec<Word> = self.next.drain(..words).collect();
        for word in &batch {
            self.waiting -= word.size();
            if let Word::Say(_, number @ 1..) = word {
                self.sent = *number;
            }
        }
        self.last += 1;
        let asked = self.asked.take_if(|behind| *behind <= words).is_some();
        if let Some(behind) = &mut self.asked {
            *behind -= words;
        }
        self.syncs.push_back(Sync { number: self.last, words, sent: self.sent, asked });
        let (subject, payload) = (self.sync.as_str().into(), self.last.to_string().into());
        let sync = OutboundMessage { subject, reply: None, payload, headers: None };
        let first = self.last;
        self.last += words as u64;
        let (mut client, made) = (self.link.client.clone(), self.made.clone());
        Some(Box::pin(async move {
            for (number, word) in (first..).zip(batch) {
                match word {
                    Word::Subscribe(via, subject, registration) => {
                        let subscriber = client.subscribe(subject).await;
                        let subscriber = subscriber.map_err(|error| format!("cannot subscribe: {error}"))?;
                        // At once: it may hear something in the next turn of the library.
                        let _ = made.send(Abortable::new(Ear { number, via, subscriber }, registration));
                    }
                    Word::Say(message, _) => {
                        client.feed(message).await.map_err(|error| format!("cannot publish: {error}"))?;
                    }
                }
            }
            client.feed(sync).await.map_err(|error| format!("cannot publish: {error}"))
        }))
    }

    /// All that has come.
    fn listen(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ear)) = self.fresh.poll_recv(cx) {
            self.ears.push(ear);
        }
        let mut ears = order::Ears::default();
        while let Poll::Ready(Some((ear, via, message))) = self.ears.poll_next_unpin(cx) {
            ears.push(ear, self.message(via, message));
        }
        ears.merge(&mut self.heard);
    }

    fn message(&mut self, via: Via, message: Message) -> Heard {
        match via {
            Via::Everybody => Heard::Broadcast(self.body(message)),
            Via::Nodes => Heard::Control(self.body(message)),
            Via::Answers => self.answered(&message),
            Via::Sync => {
                let number =
                    std::str::from_utf8(&message.payload).ok().and_then(|number| number.parse().ok());
                // Or somebody else said it.
                if self.syncs.front().map(|sync| sync.number) != number {
                    return Heard::Nothing;
                }
                let Some(sync) = self.syncs.pop_front() else { return Heard::Nothing };
                self.under_way -= sync.words;
                if sync.sent > 0 {
                    self.heard.push_back(Heard::DoneTo(sync.sent));
                }
                if sync.asked { Heard::Alive } else { Heard::Nothing }
            }
            Via::Name(via) => {
                let subject = message.subject.as_str();
                let topic = self.subjects.topic(subject);
                if self.subjects.is_ours(subject) {
                    return Heard::Nothing;
                }
                Heard::Message { via, topic, body: self.body(message) }
            }
        }
    }

    fn body(&self, message: Message) -> Body {
        // A copy, so that a small message doesn't keep all that was read with it.
        let payload = Bytes::copy_from_slice(&message.payload);
        let Some(headers) = message.headers else {
            return Body { payload, ..Body::default() }.checked();
        };
        let number = |name: HeaderName, radix: u32| {
            headers.get(name).and_then(|value| u64::from_str_radix(value.as_str(), radix).ok())
        };
        let epoch = || {
            number(EPOCH, 10).or_else(|| match self.streams.get(headers.get(STREAM)?.as_str())? {
                (_, Known::Ready(epoch)) => Some(*epoch),
                _ => None,
            })
        };
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

    /// The server refuses something.
    fn failed(&mut self, error: String) -> Result<Heard, String> {
        let subject = error.split('"').nth(1).unwrap_or_default();
        if subject == self.sync {
            // Without it nothing is ever confirmed.
            return Err(format!("NATS refuses what a node needs: {error}"));
        }
        if error.contains("Publish")
            && let Some(number) = self.stored.get(subject).and_then(|numbers| numbers.front().copied())
        {
            self.is_answered(number);
            return Ok(Heard::Refused {
                number,
                reason: format!("NATS refuses it: {error}"),
                uncertain: false,
            });
        }
        if subject.starts_with("$JS.API.") {
            for (_, known) in self.streams.values_mut() {
                if matches!(known, Known::Asked(_)) {
                    *known = Known::Failed(Instant::now(), error.clone());
                }
            }
        }
        let topic = self.subjects.topic(subject).unwrap_or_default();
        Ok(Heard::Trouble { topic, reason: format!("NATS refuses it: {error}") })
    }
}

fn is_binary(headers: &HeaderMap) -> bool {
    headers.get(BINARY).is_some_and(|value| value.as_str() == "1")
}

impl Wire for Nats {
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<Result<Heard, String>> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                self.useless.begin(self.received());
                return Poll::Ready(Ok(heard));
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
            self.listen(cx);
            if !self.heard.is_empty() {
                continue;
            }
            // What the server said last comes before its end.
            match self.link.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    if let Some(error) = refusal(event)? {
                        return Poll::Ready(self.failed(error));
                    }
                }
                Poll::Ready(None) => return Poll::Ready(Err("the connection is gone".to_owned())),
                Poll::Pending if self.link.has_ended() => return Poll::Ready(Err(link::ENDED.to_owned())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn received(&self) -> u64 {
        self.link.client.statistics().in_bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.waiting < BATCH
    }

    fn begin(&mut self) {
        let (everybody, nodes) = (self.subjects.everybody(), self.subjects.nodes());
        self.sub(Via::Everybody, everybody);
        self.sub(Via::Nodes, nodes);
        self.sub(Via::Sync, self.sync.clone());
    }

    fn subscribe(&mut self, name: &Arc<str>) {
        let subscription = self.sub(Via::Name(name.clone()), self.subjects.of(name));
        self.names.insert(name.clone(), subscription);
    }

    fn unsubscribe(&mut self, name: &Arc<str>) {
        if let Some(subscription) = self.names.remove(name) {
            subscription.abort();
        }
    }

    fn publish(&mut self, item: &Item) -> Put {
        let size = item.payload.len();
        if size + HEADROOM > self.link.longest {
            let most = self.link.longest.saturating_sub(HEADROOM);
            return Put::Refused(format!("the payload has {size} bytes, this NATS server takes {most}"));
        }
        let subject = match (&item.target, &item.history) {
            (Target::Topic(topic), Some(limits)) => return self.store(topic, item, limits),
            (Target::Topic(topic), None) => self.subjects.of(topic),
            (Target::Everybody, _) => self.subjects.everybody(),
        };
        let (node, number) = (self.node.clone(), item.number.to_string());
        let mut headers = vec![(NODE, node.as_str()), (NUMBER, &number)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        self.say(subject, None, &headers, item.payload.clone(), item.number);
        Put::Sent
    }

    fn control(&mut self, payload: &[u8]) {
        if payload.len() + HEADROOM <= self.link.longest {
            let (node, payload) = (self.node.clone(), Bytes::copy_from_slice(payload));
            self.say(self.subjects.nodes(), None, &[(NODE, &node), (BINARY, "1")], payload, 0);
        }
    }

    fn ask(&mut self) {
        self.asked = Some(self.next.len());
    }

    fn known_for(&self, item: &Item) -> Option<Duration> {
        let limits = item.history.as_ref()?;
        // The first attempt may have been stored somewhat after it was made.
        Some(jetstream::window(limits.seconds.unwrap_or_default()).mul_f64(0.8))
    }
}
