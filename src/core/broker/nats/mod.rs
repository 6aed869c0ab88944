//! NATS: core publish/subscribe, and JetStream for topics with history.
//!
//! | what | where |
//! |---|---|
//! | a topic | subject PREFIX + `.` + topic |
//! | messages for everybody | subject PREFIX + `.%all` |
//! | nodes among themselves | subject PREFIX + `.%nodes` |
//! | history | subject PREFIX + `-history.` + limits + `.` + topic, into a stream for these limits |
//!
//! What nodes tell each other beside the payload is in headers.

mod client;
#[cfg(fuzzing)]
pub(super) mod harness;
mod jetstream;
pub(crate) mod protocol;
pub(crate) mod subject;

use bytes::BytesMut;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::History;
use super::envelope::Body;
use super::queue::{Item, Target};
use super::replay::{Entry, Replay, parse_position};
use super::url::{BrokerUrl, Place};
use super::wire::{Heard, Opened, Put, Wire};
use client::{Client, NO_JETSTREAM};
use jetstream::{Described, Stream};
use protocol::{HEADROOM, Message, Said};
use subject::Subjects;

/// The node that has sent a message, 16 hexadecimal digits.
const NODE: &str = "Sprocket-Node";
/// Its place among the publications of that node.
const NUMBER: &str = "Sprocket-Number";
/// `1`: not text.
pub(crate) const BINARY: &str = "Sprocket-Binary";
/// That of the stream, as the node knew it.
const EPOCH: &str = "Sprocket-Epoch";

/// Numbers of subscriptions.
const EVERYBODY: u64 = 1;
const NODES: u64 = 2;
const ANSWERS: u64 = 3;
const FIRST: u64 = 4;

/// How long to wait before a stream that can't be had is asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long JetStream may take to answer.
const JETSTREAM: Duration = Duration::from_secs(5);

/// Connects and introduces itself.
pub(super) async fn open(url: &BrokerUrl, place: &Place, prefix: &str, node: u64) -> Result<Opened, String> {
    let subjects = Subjects::new(prefix).ok_or("the prefix can't begin a subject")?;
    let client = Client::connect(url, place).await?;
    let wire = Nats::new(subjects, format!("{node:016x}"), client.longest, client::inbox());
    let (stream, input) = client.into_parts();
    Ok((Box::new(wire), stream, input))
}

/// Why a PING was sent; PONGs come in order.
#[derive(Debug)]
enum Ping {
    Alive,
    /// What was sent before it has been dealt with.
    Confirm(u64),
}

/// What we know of a stream.
#[derive(Debug)]
enum Known {
    Asked(Instant),
    Ready(u64),
    Failed(Instant, String),
}

struct Nats {
    subjects: Subjects,
    node: String,
    longest: usize,
    /// Where answers of JetStream come in.
    inbox: String,
    listening: bool,
    /// Names by number of the subscription, and the other way.
    names: HashMap<u64, Arc<str>>,
    sids: HashMap<Arc<str>, u64>,
    next: u64,
    pings: VecDeque<Ping>,
    /// The last publication that was sent, and the last whose confirmation was asked for.
    sent: u64,
    asked_for: u64,
    /// By name.
    streams: HashMap<String, (Stream, Known)>,
}

impl Nats {
    fn new(subjects: Subjects, node: String, longest: usize, inbox: String) -> Self {
        Self {
            subjects,
            node,
            longest,
            inbox,
            listening: false,
            names: HashMap::new(),
            sids: HashMap::new(),
            next: FIRST,
            pings: VecDeque::new(),
            sent: 0,
            asked_for: 0,
            streams: HashMap::new(),
        }
    }

    fn message(&mut self, message: Message, out: &mut BytesMut) -> Heard {
        match message.sid {
            EVERYBODY => Heard::Broadcast(self.body(message)),
            NODES => Heard::Control(self.body(message)),
            ANSWERS => self.answered(&message, out),
            sid => {
                // One that was given up: copies were under way.
                let Some(via) = self.names.get(&sid).cloned() else { return Heard::Nothing };
                if message.subject == self.subjects.everybody() || message.subject == self.subjects.nodes() {
                    return Heard::Nothing;
                }
                let topic = self.subjects.topic(&message.subject);
                Heard::Message { via, topic, body: self.body(message) }
            }
        }
    }

    fn body(&self, message: Message) -> Body {
        let number = |name: &str, radix: u32| {
            message.header(name).and_then(|value| u64::from_str_radix(value, radix).ok())
        };
        let epoch = || {
            number(EPOCH, 10).or_else(|| match self.streams.get(message.header("Nats-Stream")?)? {
                (_, Known::Ready(epoch)) => Some(*epoch),
                _ => None,
            })
        };
        let place = number("Nats-Sequence", 10).and_then(|sequence| Some((epoch()?, sequence)));
        Body {
            node: number(NODE, 16).unwrap_or(0),
            number: number(NUMBER, 10).unwrap_or(0),
            binary: message.header(BINARY) == Some("1"),
            position: place.map(|(epoch, sequence)| format!("{epoch}-{sequence}")),
            previous: place
                .and_then(|(epoch, _)| Some(format!("{epoch}-{}", number("Nats-Last-Sequence", 10)?))),
            payload: message.payload,
        }
        .checked()
    }

    /// What JetStream says of a publication or a stream.
    fn answered(&mut self, message: &Message, out: &mut BytesMut) -> Heard {
        let Some(of) = message.subject.strip_prefix(&self.inbox).and_then(|rest| rest.strip_prefix('.'))
        else {
            return Heard::Nothing;
        };
        let nobody = message.status == Some(503);
        if let Ok(number) = of.parse::<u64>() {
            let refused = |reason, uncertain| Heard::Refused { number, reason, uncertain };
            if nobody {
                // Whoever publishes next finds out.
                self.streams.clear();
                return refused(NO_JETSTREAM.to_owned(), false);
            }
            let answer: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            return match jetstream::error(&answer) {
                Some(reason) => refused(format!("JetStream refuses it: {reason}"), false),
                None if answer["seq"].is_u64() => Heard::Done(number),
                None => refused(format!("JetStream answered {answer}"), true),
            };
        }
        let Some((stream, known)) = self.streams.get_mut(of) else { return Heard::Nothing };
        let described = if nobody {
            Described::Failed(NO_JETSTREAM.to_owned())
        } else {
            stream.described(&message.payload)
        };
        *known = match described {
            Described::Known { epoch, .. } => Known::Ready(epoch),
            Described::Failed(reason) => Known::Failed(Instant::now(), reason),
            Described::Exists => {
                protocol::publish(out, &stream.info(), Some(&message.subject), &[], b"");
                Known::Asked(Instant::now())
            }
        };
        Heard::Nothing
    }

    fn failed(&mut self, error: String) -> Result<Heard, String> {
        let lower = error.to_ascii_lowercase();
        if !lower.starts_with("permissions violation") {
            return Err(format!("the server ends the connection: {error}"));
        }
        let subject = error.split('"').nth(1).unwrap_or_default();
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

    fn store(&mut self, topic: &str, item: &Item, limits: &History, out: &mut BytesMut) -> Put {
        if !self.listening {
            self.listening = true;
            sub(out, &format!("{}.>", self.inbox), ANSWERS);
        }
        let stream = Stream::new(&self.subjects, limits);
        let (stream, known) = match self.streams.get_mut(&stream.name) {
            Some((_, Known::Asked(at))) if at.elapsed() < JETSTREAM => return Put::Later,
            Some((_, known @ Known::Asked(_))) => {
                let reason = format!("JetStream did not answer within {JETSTREAM:?}");
                *known = Known::Failed(Instant::now(), reason.clone());
                return Put::Refused(reason);
            }
            Some((_, Known::Failed(at, reason))) if at.elapsed() < AGAIN => {
                return Put::Refused(reason.clone());
            }
            Some((stream, Known::Ready(epoch))) => (stream, *epoch),
            None | Some((_, Known::Failed(..))) => {
                let (subject, payload) = stream.create();
                let reply = format!("{}.{}", self.inbox, stream.name);
                protocol::publish(out, &subject, Some(&reply), &[], payload.as_bytes());
                self.streams.insert(stream.name.clone(), (stream, Known::Asked(Instant::now())));
                return Put::Later;
            }
        };
        let (id, epoch) = (format!("{}-{}", self.node, item.number), known.to_string());
        let mut headers = vec![(NODE, self.node.as_str()), (EPOCH, &epoch), ("Nats-Msg-Id", &id)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        let reply = format!("{}.{}", self.inbox, item.number);
        protocol::publish(out, &stream.subject(topic), Some(&reply), &headers, &item.payload);
        Put::Sent
    }
}

fn sub(out: &mut BytesMut, subject: &str, sid: u64) {
    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

impl Wire for Nats {
    fn hear(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Option<Heard>, String> {
        Ok(Some(match protocol::read(input)? {
            None => return Ok(None),
            Some(Said::Message(message)) => self.message(message, out),
            Some(Said::Ping) => {
                out.extend_from_slice(b"PONG\r\n");
                Heard::Nothing
            }
            Some(Said::Pong) => match self.pings.pop_front() {
                Some(Ping::Alive) => Heard::Alive,
                Some(Ping::Confirm(number)) => Heard::DoneTo(number),
                None => return Err("it answers what was not asked".to_owned()),
            },
            Some(Said::Info(info)) => {
                if info["ldm"] == true {
                    return Err("the server is about to shut down".to_owned());
                }
                self.longest = protocol::longest_payload(&info).unwrap_or(self.longest);
                Heard::Nothing
            }
            Some(Said::Error(error)) => self.failed(error)?,
            Some(Said::Nothing) => Heard::Nothing,
        }))
    }

    fn begin(&mut self, out: &mut BytesMut) {
        sub(out, &self.subjects.everybody(), EVERYBODY);
        sub(out, &self.subjects.nodes(), NODES);
    }

    fn subscribe(&mut self, name: &Arc<str>, out: &mut BytesMut) {
        sub(out, &self.subjects.of(name), self.next);
        self.names.insert(self.next, name.clone());
        self.sids.insert(name.clone(), self.next);
        self.next += 1;
    }

    fn unsubscribe(&mut self, name: &Arc<str>, out: &mut BytesMut) {
        if let Some(sid) = self.sids.remove(name) {
            self.names.remove(&sid);
            out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
        }
    }

    fn publish(&mut self, item: &Item, out: &mut BytesMut) -> Put {
        let size = item.payload.len();
        if size + HEADROOM > self.longest {
            let most = self.longest.saturating_sub(HEADROOM);
            return Put::Refused(format!("the payload has {size} bytes, this NATS server takes {most}"));
        }
        let subject = match (&item.target, &item.history) {
            (Target::Topic(topic), Some(limits)) => return self.store(topic, item, limits, out),
            (Target::Topic(topic), None) => self.subjects.of(topic),
            (Target::Everybody, _) => self.subjects.everybody(),
        };
        let number = item.number.to_string();
        let mut headers = vec![(NODE, self.node.as_str()), (NUMBER, &number)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        protocol::publish(out, &subject, None, &headers, &item.payload);
        self.sent = item.number;
        Put::Sent
    }

    fn end_batch(&mut self, out: &mut BytesMut) {
        let waiting = self.pings.iter().any(|ping| matches!(ping, Ping::Confirm(_)));
        if self.sent > self.asked_for && !waiting {
            self.asked_for = self.sent;
            self.pings.push_back(Ping::Confirm(self.sent));
            out.extend_from_slice(b"PING\r\n");
        }
    }

    fn control(&mut self, payload: &[u8], out: &mut BytesMut) {
        if payload.len() + HEADROOM <= self.longest {
            let headers = [(NODE, self.node.as_str()), (BINARY, "1")];
            protocol::publish(out, &self.subjects.nodes(), None, &headers, payload);
        }
    }

    fn ask(&mut self, out: &mut BytesMut) {
        self.pings.push_back(Ping::Alive);
        out.extend_from_slice(b"PING\r\n");
    }

    fn known_for(&self, item: &Item) -> Option<Duration> {
        let limits = item.history.as_ref()?;
        // The first attempt may have been stored somewhat after it was made.
        Some(jetstream::window(limits.seconds.unwrap_or_default()).mul_f64(0.8))
    }
}

/// A connection for replays.
pub(super) struct Reader {
    client: Client,
    subjects: Subjects,
}

impl Reader {
    pub(super) async fn open(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<Self, String> {
        let subjects = Subjects::new(prefix).ok_or("the prefix can't begin a subject")?;
        let mut client = Client::connect(url, place).await?;
        client.listen();
        Ok(Self { client, subjects })
    }

    /// How it is known that nothing is missing: messages go from a stream either from its front, so
    /// none behind `after` did if the stream begins before; or because their topic has too many, so
    /// none did if the topic has fewer than it may, or still has the one at `after`.
    pub(super) async fn replay(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
    ) -> Result<Replay, String> {
        let stream = Stream::new(&self.subjects, limits);
        let (epoch, first, last) = self.described(&stream).await?;
        let now = format!("{epoch}-{last}");
        let done =
            |complete| Ok(Replay { complete, entries: Vec::new(), position: now.clone(), failed: None });
        let Some((of, after)) = parse_position(position) else { return done(true) };
        if of != epoch || after >= last || first > after + 1 {
            return done(after == last && of == epoch);
        }
        let Some(entries) = self.entries(&stream, topic, (epoch, after, last)).await? else {
            return done(false);
        };
        // Some may have gone from its front meanwhile.
        let (_, first, _) = self.described(&stream).await?;
        if first > after + 1 {
            return done(false);
        }
        if entries.len() >= stream.messages() && !self.has(&stream, topic, after).await? {
            return done(false);
        }
        Ok(Replay { complete: true, entries, position: now, failed: None })
    }

    /// Epoch, first and last message. Creates it if it isn't there, so that a position of it means
    /// something.
    async fn described(&mut self, stream: &Stream) -> Result<(u64, u64, u64), String> {
        let known = |described| match described {
            Described::Known { epoch, first, last } => Ok((epoch, first, last)),
            Described::Failed(reason) => Err(reason),
            Described::Exists => Err(format!("the stream {} comes and goes", stream.name)),
        };
        let answer = self.client.ask(&stream.info(), "").await?;
        if let Ok(found) = known(stream.described(&answer.payload)) {
            return Ok(found);
        }
        let (subject, payload) = stream.create();
        let answer = self.client.ask(&subject, &payload).await?;
        if let Described::Failed(reason) = stream.described(&answer.payload) {
            return Err(reason);
        }
        let answer = self.client.ask(&stream.info(), "").await?;
        known(stream.described(&answer.payload))
    }

    /// By a consumer that is made for it. `None`: some went while they were fetched.
    async fn entries(
        &mut self,
        stream: &Stream,
        topic: &str,
        (epoch, after, last): (u64, u64, u64),
    ) -> Result<Option<Vec<Entry>>, String> {
        let (subject, request) = stream.consume(topic, after + 1);
        let answer = self.client.ask(&subject, &request).await?;
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        if let Some(reason) = jetstream::error(&answer) {
            return Err(format!("JetStream refuses a consumer: {reason}"));
        }
        let name = answer["name"].as_str().unwrap_or_default();
        let count = answer["num_pending"].as_u64().unwrap_or(0);
        let mut entries = Vec::new();
        let mut whole = true;
        if count > 0 {
            let (subject, request) = stream.fetch(name, count);
            let inbox = self.client.fresh_inbox();
            self.client.send_question(&subject, &inbox, &request).await?;
            for _ in 0..count {
                let message = self.client.message().await?;
                let Some(sequence) = message.reply.as_deref().and_then(delivered) else {
                    whole = false;
                    break;
                };
                if sequence <= last {
                    let binary = message.header(BINARY) == Some("1");
                    let body = Body { binary, payload: message.payload, ..Body::default() }.checked();
                    let position = format!("{epoch}-{sequence}");
                    entries.push(Entry { position, payload: body.payload, binary: body.binary });
                }
            }
        }
        self.client.say(&stream.stop_consuming(name));
        Ok(whole.then_some(entries))
    }

    /// Whether the message of this number is there, and of this topic.
    async fn has(&mut self, stream: &Stream, topic: &str, sequence: u64) -> Result<bool, String> {
        let request = serde_json::json!({ "seq": sequence }).to_string();
        let answer = self.client.ask(&stream.message(), &request).await?;
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        Ok(answer["message"]["subject"] == stream.subject(topic).as_str())
    }
}

/// The message's number in the stream, from where it would be acknowledged:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.NUMBER.…`, or with domain and account before the stream.
fn delivered(reply: &str) -> Option<u64> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = match tokens.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    tokens[at].parse().ok()
}
