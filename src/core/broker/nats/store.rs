//! Publications that JetStream stores, and the streams for them.

use bytes::Bytes;
use serde_json::Value;
use std::time::{Duration, Instant};

use super::jetstream::{self, Described, Stream as Log};
use super::link::NO_JETSTREAM;
use super::{BINARY, EPOCH, MESSAGE_ID, Message, NODE, Nats, Via};
use crate::broker::History;
use crate::broker::queue::Item;
use crate::broker::wire::{Heard, Put};

/// How long to wait before a stream that can't be had is asked for again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long JetStream may take to answer.
const JETSTREAM: Duration = Duration::from_secs(5);

/// What we know of a stream.
#[derive(Debug)]
pub(super) enum Known {
    Asked(Instant),
    Ready(u64),
    Failed(Instant, String),
}

impl Nats {
    /// What JetStream says of a publication or a stream.
    pub(super) fn answered(&mut self, message: &Message) -> Heard {
        let of = message.subject.strip_prefix(self.inbox.as_str()).and_then(|rest| rest.strip_prefix('.'));
        let Some(of) = of else { return Heard::Nothing };
        let nobody = message.status == Some(async_nats::StatusCode::NO_RESPONDERS);
        if let Ok(number) = of.parse::<u64>() {
            self.is_answered(number);
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
        let mut ask = None;
        let described = if nobody {
            Described::Failed(NO_JETSTREAM.to_owned())
        } else {
            stream.described(&message.payload)
        };
        *known = match described {
            Described::Known { epoch, .. } => Known::Ready(epoch),
            Described::Failed(reason) => Known::Failed(Instant::now(), reason),
            Described::Exists => {
                ask = Some(stream.info());
                Known::Asked(Instant::now())
            }
        };
        if let Some(question) = ask {
            self.say(question, Some(message.subject.to_string()), &[], Bytes::new(), 0);
        }
        Heard::Nothing
    }

    /// JetStream has, or NATS in its place.
    pub(super) fn is_answered(&mut self, number: u64) {
        let Some(subject) = self.storing.remove(&number) else { return };
        if let Some(numbers) = self.stored.get_mut(&subject) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.stored.remove(&subject);
            }
        }
    }

    /// Publishes to the stream for these limits, once there is one.
    pub(super) fn store(&mut self, topic: &str, item: &Item, limits: &History) -> Put {
        if !self.listening {
            self.listening = true;
            self.sub(Via::Answers, format!("{}.>", self.inbox));
        }
        let stream = Log::new(&self.subjects, limits);
        let epoch = match self.streams.get_mut(&stream.name) {
            Some((_, Known::Asked(at))) if at.elapsed() < JETSTREAM => return Put::Later,
            Some((_, known @ Known::Asked(_))) => {
                let reason = format!("JetStream did not answer within {JETSTREAM:?}");
                *known = Known::Failed(Instant::now(), reason.clone());
                return Put::Refused(reason);
            }
            Some((_, Known::Failed(at, reason))) if at.elapsed() < AGAIN => {
                return Put::Refused(reason.clone());
            }
            Some((_, Known::Ready(epoch))) => epoch.to_string(),
            None | Some((_, Known::Failed(..))) => {
                let (subject, payload) = stream.create();
                let reply = format!("{}.{}", self.inbox, stream.name);
                self.say(subject, Some(reply), &[], payload.into(), 0);
                self.streams.insert(stream.name.clone(), (stream, Known::Asked(Instant::now())));
                return Put::Later;
            }
        };
        let (node, id) = (self.node.clone(), format!("{}-{}", self.node, item.number));
        let mut headers = vec![(NODE, node.as_str()), (EPOCH, &epoch), (MESSAGE_ID, &id)];
        if item.binary {
            headers.push((BINARY, "1"));
        }
        let reply = format!("{}.{}", self.inbox, item.number);
        let subject = stream.subject(topic);
        self.stored.entry(subject.clone()).or_default().push_back(item.number);
        self.storing.insert(item.number, subject.clone());
        self.say(subject, Some(reply), &headers, item.payload.clone(), 0);
        Put::Sent
    }
}
