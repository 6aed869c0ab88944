//! Reads histories from the streams of JetStream.

use async_nats::{Message, RequestErrorKind};
use bytes::Bytes;
use futures_util::stream::StreamExt;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::headers::is_binary;
use super::jetstream::{self, Described, HistoryStream};
use super::link::{Link, NO_JETSTREAM, refusal};
use crate::config::History;
use crate::envelope::Body;
use crate::gauge::{LOOK, Useless};
use crate::replay::{Replay, ReplayEntry, parse_position};
use crate::subject::Subjects;
use crate::url::{BrokerUrl, Place};

/// Maximum number of messages per request.
const FETCH: u64 = 4096;
/// Bytes of all payloads that are accepted in one replay, or the topic's own limit if that is larger.
/// JetStream limits a topic in messages only.
const ANSWER: usize = 64 << 20;
/// Pause before the library reconnects after the end of a connection. By then the connection is unused,
/// which the library detects; its tasks end, although their runtime continues.
const AGAIN: Duration = Duration::from_secs(2);

/// A connection for replays.
pub(crate) struct Reader {
    link: Link,
    subjects: Subjects,
    /// Number of bytes received when the last message of an answer arrived.
    progress: Arc<AtomicU64>,
    /// Size in bytes of the largest payload that is accepted.
    largest: usize,
}

impl Reader {
    pub(crate) async fn open(url: &BrokerUrl, place: &Place, prefix: &str) -> Result<Self, String> {
        let subjects = Subjects::new(prefix).ok_or("the prefix can't begin a subject")?;
        let link = Link::open(url, place, AGAIN).await?;
        Ok(Self { link, subjects, progress: Arc::default(), largest: 0 })
    }

    /// Waits for a future, unless the server refuses a command or the connection ends.
    async fn unless_refused<T>(
        &mut self,
        what: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let (statistics, progress) = (self.link.client.statistics(), self.progress.clone());
        let received = move || statistics.in_bytes.load(Ordering::Relaxed);
        progress.store(received(), Ordering::Relaxed);
        let mut useless = Useless::new(self.largest);
        let excess = async move {
            loop {
                tokio::time::sleep(LOOK).await;
                useless.begin(progress.load(Ordering::Relaxed));
                if let Err(error) = useless.check(received()) {
                    return error;
                }
            }
        };
        let events = &mut self.link.events;
        let refused = async {
            while let Some(event) = events.recv().await {
                match refusal(event) {
                    Ok(None) => {}
                    Ok(Some(error)) | Err(error) => return error,
                }
            }
            "the connection was lost".to_owned()
        };
        tokio::select! {
            done = what => done,
            error = refused => Err(error),
            error = excess => Err(error),
        }
    }

    /// Sends a request and waits for its answer.
    async fn ask(&mut self, subject: String, question: String) -> Result<Bytes, String> {
        let client = self.link.client.clone();
        self.unless_refused(async move {
            match client.request(subject, question.into()).await {
                Ok(answer) => Ok(answer.payload),
                Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(NO_JETSTREAM.to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// See [`BrokerClient::replay`](crate::BrokerClient::replay).
    ///
    /// A message leaves a stream in one of two ways. It expires at the front of the stream: none
    /// behind `after` has, if the stream begins before `after`. Or its topic exceeds its number of
    /// messages: none behind `after` was removed, if the topic has fewer messages than its limit, or
    /// still has the one at `after`. So the replay is complete if neither has happened.
    pub(crate) async fn replay(
        &mut self,
        topic: &str,
        position: &str,
        limits: &History,
        largest: usize,
    ) -> Result<Replay, String> {
        self.largest = largest.min(self.link.longest);
        let stream = HistoryStream::new(&self.subjects, limits);
        let (epoch, first, last) = self.described(&stream).await?;
        let now = format!("{epoch}-{last}");
        let done =
            |complete| Ok(Replay { complete, entries: Vec::new(), position: now.clone(), failed: None });
        let Some((of, after)) = parse_position(position) else { return done(true) };
        if of != epoch || after >= last || first > after + 1 {
            return done(after == last && of == epoch);
        }
        let Some(entries) = self.entries(&stream, topic, (epoch, after, last), limits).await? else {
            return done(false);
        };
        // Messages may have expired at the front meanwhile.
        let (_, first, _) = self.described(&stream).await?;
        if first > after + 1 {
            return done(false);
        }
        if entries.len() >= stream.messages() && !self.has(&stream, topic, after).await? {
            return done(false);
        }
        Ok(Replay { complete: true, entries, position: now, failed: None })
    }

    /// Epoch, first and last sequence number of a stream. Creates the stream if it does not exist, so
    /// that its position is valid from then on.
    async fn described(&mut self, stream: &HistoryStream) -> Result<(u64, u64, u64), String> {
        let known = |described| match described {
            Described::Stream { epoch, first, last } => Ok((epoch, first, last)),
            Described::Failed(reason) => Err(reason),
            Described::Exists => Err(format!("the stream {} is deleted again and again", stream.name)),
        };
        let answer = self.ask(stream.info(), String::new()).await?;
        if let Ok(found) = known(stream.described(&answer)) {
            return Ok(found);
        }
        let (subject, payload) = stream.create();
        let answer = self.ask(subject, payload).await?;
        if let Described::Failed(reason) = stream.described(&answer) {
            return Err(reason);
        }
        let answer = self.ask(stream.info(), String::new()).await?;
        known(stream.described(&answer))
    }

    /// Reads the messages of a topic by a consumer made for this. `None` if some were removed
    /// meanwhile, or if they exceed the limit of bytes.
    async fn entries(
        &mut self,
        stream: &HistoryStream,
        topic: &str,
        (epoch, after, last): (u64, u64, u64),
        limits: &History,
    ) -> Result<Option<Vec<ReplayEntry>>, String> {
        let (subject, request) = stream.consume(topic, after + 1);
        let answer = self.ask(subject, request).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if let Some(reason) = jetstream::error(&answer) {
            return Err(format!("JetStream refuses a consumer: {reason}"));
        }
        let name = answer["name"].as_str().unwrap_or_default();
        let mut left = answer["num_pending"].as_u64().unwrap_or(0);
        let mut entries = Vec::new();
        let mut room = limits.bytes.max(ANSWER);
        let mut whole = true;
        while left > 0 && whole {
            let count = left.min(FETCH);
            left -= count;
            let messages = self.fetch(stream, name, count, &mut room).await?;
            whole = messages.len() as u64 == count;
            for (sequence, message) in messages {
                if sequence <= last {
                    let binary = message.headers.as_ref().is_some_and(is_binary);
                    let body = Body { binary, payload: message.payload, ..Body::default() }.checked();
                    let position = format!("{epoch}-{sequence}");
                    entries.push(ReplayEntry { position, payload: body.payload, binary: body.binary });
                }
            }
        }
        let done = self.link.client.publish(stream.stop_consuming(name), Bytes::new()).await;
        done.map_err(|error| error.to_string())?;
        Ok(whole.then_some(entries))
    }

    /// The next messages of a consumer with their sequence numbers; fewer than `count` if some were
    /// removed meanwhile.
    async fn fetch(
        &mut self,
        stream: &HistoryStream,
        consumer: &str,
        count: u64,
        room: &mut usize,
    ) -> Result<Vec<(u64, Message)>, String> {
        let (statistics, progress) = (self.link.client.statistics(), self.progress.clone());
        let client = self.link.client.clone();
        let (subject, request) = stream.fetch(consumer, count);
        let inbox = client.new_inbox();
        self.unless_refused(async move {
            let mut subscriber = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
            let asked = client.publish_with_reply(subject, inbox, request.into()).await;
            asked.map_err(|error| error.to_string())?;
            let mut messages = Vec::new();
            while (messages.len() as u64) < count {
                let Some(message) = subscriber.next().await else { break };
                let Some(sequence) = message.reply.as_deref().and_then(delivered) else { break };
                progress.store(statistics.in_bytes.load(Ordering::Relaxed), Ordering::Relaxed);
                let Some(left) = room.checked_sub(message.payload.len()) else { break };
                *room = left;
                messages.push((sequence, message));
            }
            Ok(messages)
        })
        .await
    }

    /// Whether the message of this sequence number still exists and belongs to the topic.
    async fn has(&mut self, stream: &HistoryStream, topic: &str, sequence: u64) -> Result<bool, String> {
        let request = serde_json::json!({ "seq": sequence }).to_string();
        let answer = self.ask(stream.message(), request).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        Ok(answer["message"]["subject"] == stream.subject(topic).as_str())
    }
}

/// Sequence number of a message in its stream, taken from the subject of its acknowledgement:
/// `$JS.ACK.STREAM.CONSUMER.DELIVERED.NUMBER.…`, with domain and account in front of the stream on
/// newer servers.
fn delivered(reply: &str) -> Option<u64> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let at = match tokens.len() {
        7 => 3,
        9.. => 5,
        _ => return None,
    };
    tokens[at].parse().ok()
}
